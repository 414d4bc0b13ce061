"""Test that intact recordings are accepted even if headers or seeks look wrong, and that truncated ones are refused."""

import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob
from data_miner_dagster_tests.operations.extraction.test_container_matrix import lying_avi, times_by_ffmpeg
from data_miner_dagster_tests.support.barcode_clips import barcode_picture, make_clip

RATE = 5
TICKS = 90000 // RATE
"""The duration of a frame in MPEG-TS ticks."""
NO_LOGS = {"x265-params": "log-level=none:pools=none"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def clip(path: Path, seconds: int, keyframe_every: int, *, starts_at: int | None = None, **settings: Any) -> Path:
    """Write a clip of 5 frames a second; `starts_at`, in MPEG-TS ticks, is preserved."""
    if starts_at is not None:
        settings["pts"] = [starts_at + TICKS * number for number in range(seconds * RATE)]
        settings |= {"time_base": Fraction(1, 90000), "container_options": {"mpegts_copyts": "1"}}
    defaults: dict[str, Any] = {"frame_rate": Fraction(RATE), "gop": keyframe_every * RATE, "size": (96, 64)}
    return make_clip(path, num_frames=seconds * RATE, **{**defaults, **settings})


def joined(path: Path, *starts: int, seconds: int, tail: bytes = b"") -> Path:
    """Write several recordings one after another into one file, as `cat` and HLS downloads do."""
    parts = [
        clip(path.with_name(f"part{n}.ts"), seconds, seconds, starts_at=start).read_bytes()
        for n, start in enumerate(starts)
    ]
    path.write_bytes(b"".join(parts) + tail)
    return path


def with_sound(path: Path, seconds: int, sound_seconds: int) -> Path:
    """Write a clip whose pictures end before its sound does."""
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=RATE), container.add_stream("aac", rate=8000)
        assert isinstance(video, av.VideoStream)
        assert isinstance(audio, av.AudioStream)
        video.width, video.height, video.pix_fmt, video.gop_size = 96, 64, "yuv420p", 2 * RATE
        video.options = {"bf": "0", "sc_threshold": "0", "threads": "1"}
        for second in range(sound_seconds):
            for number in range(second * RATE, min(second + 1, seconds) * RATE):
                picture = av.VideoFrame.from_ndarray(barcode_picture(number, 96, 64), format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, RATE)
                container.mux(video.encode(picture))
            if second + 1 == seconds:
                container.mux(video.encode(None))
            for start in range(second * 8000, (second + 1) * 8000, 1000):
                tone = np.sin(np.arange(start, start + 1000) / 20).astype(np.float32).reshape(1, -1) / 9
                sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                sound.sample_rate, sound.pts, sound.time_base = 8000, start, Fraction(1, 8000)
                container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    return path


def late_matroska(path: Path) -> Path:
    """Write a clip whose first timestamp is 3.2 s."""
    return clip(path, 10, 1, pts=[16 + number for number in range(10 * RATE)], time_base=Fraction(1, RATE))


def dv(path: Path) -> Path:
    """Write ten frames in the format of a tape camera."""
    return make_clip(path, num_frames=10, frame_rate=Fraction(25), size=(720, 576), codec="dvvideo")


WHOLE: dict[str, tuple[Callable[[Path], Path], int, float]] = {
    "MPEG-TS, 2 s groups": (lambda folder: clip(folder / "a.ts", 20, 2), 100, 20),
    "MPEG-TS, 10 s groups, B-frames": (
        lambda folder: clip(folder / "a.ts", 30, 10, options={"bf": "3", "b_strategy": "0"}),
        150,
        30,
    ),
    "MPEG-PS, 2 s groups": (
        lambda folder: make_clip(
            folder / "a.mpg", num_frames=500, frame_rate=Fraction(25), gop=50, codec="mpeg2video", size=(96, 64)
        ),
        500,
        20,
    ),
    "raw H.264": (lambda folder: clip(folder / "a.h264", 8, 1, container_format="h264"), 40, 8),
    "raw HEVC": (
        lambda folder: clip(folder / "a.hevc", 8, 1, codec="libx265", options=NO_LOGS, container_format="hevc"),
        40,
        8,
    ),
    "HLS": (lambda folder: joined(folder / "a.ts", *(4 * 90000 * n for n in range(5)), seconds=4), 100, 20),
    "HLS called mp4": (lambda folder: joined(folder / "a.mp4", *(4 * 90000 * n for n in range(5)), seconds=4), 100, 20),
    "padded": (lambda folder: joined(folder / "a.ts", 0, 360000, seconds=4, tail=bytes(188 * 1000)), 40, 8),
    "33-bit wrap": (lambda folder: clip(folder / "a.ts", 6, 1, starts_at=2**33 - 180000), 30, 6),
    "joined, times go back": (lambda folder: joined(folder / "a.ts", 90000000, 900000, seconds=3), 30, 6),
    "joined, times jump ahead": (lambda folder: joined(folder / "a.ts", 900000, 90000000, seconds=3), 30, 6),
    "joined, times come twice": (lambda folder: joined(folder / "a.ts", 900000, 900000, seconds=3), 30, 6),
    "mkv, starts late": (lambda folder: late_matroska(folder / "a.mkv"), 50, 10),
    "mp4, 10 s groups": (lambda folder: clip(folder / "a.mp4", 30, 10), 150, 30),
    "flv, long sound": (lambda folder: with_sound(folder / "a.flv", 12, 15), 60, 15),
    "flv, very long sound": (lambda folder: with_sound(folder / "a.flv", 1, 20), 5, 20),
    "mp4, long sound": (lambda folder: with_sound(folder / "a.mp4", 12, 15), 60, 15),
    "mkv, very long sound": (lambda folder: with_sound(folder / "a.mkv", 1, 20), 5, 20),
    "MPEG-TS, long sound": (lambda folder: with_sound(folder / "a.ts", 12, 15), 60, 15),
    "IVF": (lambda folder: clip(folder / "a.ivf", 4, 1, codec="libvpx", options={"deadline": "realtime"}), 20, 4),
    "DV": (lambda folder: dv(folder / "a.dv"), 10, 0.4),
    "raw MPEG-4": (lambda folder: clip(folder / "a.m4v", 4, 1, codec="mpeg4", container_format="m4v"), 20, 4),
    "NUT": (lambda folder: clip(folder / "a.nut", 4, 1, codec="mpeg4"), 20, 4),
    "Windows TV": (lambda folder: clip(folder / "a.wtv", 4, 1, codec="mpeg2video", frame_rate=Fraction(25)), 20, 0.8),
    "Motion JPEG": (
        lambda folder: clip(folder / "a.mjpeg", 4, 1, codec="mjpeg", pix_fmt="yuvj420p", container_format="mjpeg"),
        20,
        0.8,
    ),
    "Y4M": (lambda folder: clip(folder / "a.y4m", 4, 1, codec="wrapped_avframe"), 20, 4),
    "avi, header count lies": (lying_avi, 40, 40 * 1001 / 30000),
}
"""Recordings by name: a function that writes one, its number of frames and its seconds, both known by construction."""


@pytest.mark.parametrize("name", list(WHOLE))
def test_probe_video_and_make_frame_folder__whole(name: str, tmp_path: Path) -> None:
    make, num_frames, seconds = WHOLE[name]
    path = make(tmp_path)
    probed = probe_video(path, max_pixels=10**6)
    assert probed.duration_seconds == pytest.approx(seconds, abs=0.3)
    assert len(times_by_ffmpeg(path)) == num_frames
    folder = tmp_path / "frames"
    folder.mkdir()
    config = ExtractionConfig.model_validate({"strategy": "interval", "every_frames": 1})
    summary = make_frame_folder(FrameFolderJob("file-1", path, folder, "fingerprint", config))
    assert (summary.num_frames, summary.num_unmet) == (num_frames, 0)


CUT: dict[str, Callable[[Path], Path]] = {
    "mp4, index first": lambda folder: clip(folder / "a.mp4", 10, 1, container_options={"movflags": "faststart"}),
    "mp4, index last": lambda folder: clip(folder / "a.mp4", 10, 1),
    "mov": lambda folder: clip(folder / "a.mov", 10, 1, codec="mpeg4"),
    "mkv": lambda folder: clip(folder / "a.mkv", 10, 1),
    "mkv, starts late": lambda folder: late_matroska(folder / "a.mkv"),
    "webm": lambda folder: clip(folder / "a.webm", 4, 1, codec="libvpx", options={"deadline": "realtime"}),
    "avi": lambda folder: clip(folder / "a.avi", 10, 1, codec="mpeg4"),
    "wmv": lambda folder: make_clip(folder / "a.wmv", num_frames=250, frame_rate=Fraction(25), codec="wmv2"),
    "flv": lambda folder: with_sound(folder / "a.flv", 12, 15),
    "mxf": lambda folder: make_clip(
        folder / "a.mxf", num_frames=100, frame_rate=Fraction(25), codec="mpeg2video", size=(96, 64)
    ),
}


@pytest.mark.parametrize("is_filled", [False, True], ids=["cut", "zeros to its end"])
@pytest.mark.parametrize("name", list(CUT))
def test_probe_video__cut(name: str, is_filled: bool, tmp_path: Path) -> None:
    path = CUT[name](tmp_path)
    content = path.read_bytes()
    probe_video(path, max_pixels=10**6)
    kept = content[: len(content) * 6 // 10]
    path.write_bytes(kept + bytes(len(content) - len(kept)) if is_filled else kept)
    with pytest.raises(VideoPermanentError) as error:
        probe_video(path, max_pixels=10**6)
    assert error.value.kind in (VideoErrorKind.TRUNCATED, VideoErrorKind.UNDECODABLE)
    assert is_filled or error.value.kind is VideoErrorKind.TRUNCATED


def test_probe_video__cut_within_a_fragment(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4", 10, 1, container_options=FRAGMENTED)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"mdat") + 20])
    with pytest.raises(VideoPermanentError) as error:
        probe_video(path, max_pixels=10**6)
    assert error.value.kind is VideoErrorKind.TRUNCATED


def test_probe_video__packets_say_that_it_lasts_longer_than_its_header(tmp_path: Path) -> None:
    days = 26 * 86400 * 1000
    path = clip(tmp_path / "a.flv", 1, 1, pts=[0, 200, 400, 600, days], time_base=Fraction(1, 1000))
    content = bytearray(path.read_bytes())
    place = content.index(b"duration") + len(b"duration") + 1
    content[place : place + 8] = struct.pack(">d", 1.0)
    path.write_bytes(content)
    assert probe_video(path, max_pixels=10**6).duration_seconds > days / 1000 - 1


def test_probe_video__edit_list_leaves_out_the_end(tmp_path: Path) -> None:
    path, cut = clip(tmp_path / "a.mp4", 10, 2), tmp_path / "cut.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", "3", "-t", "4", "-i", str(path), "-c", "copy"]
    subprocess.run([*command, str(cut)], check=True)
    assert probe_video(cut, max_pixels=10**6).duration_seconds == pytest.approx(4, abs=0.5)
