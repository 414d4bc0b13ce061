"""Compare every strategy on every kind of container with ffmpeg's times and the number in each picture."""

import subprocess
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.indexes import read_group_index, read_index
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.stages.extraction import groups_to_read, select_targets
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.barcode_clips import make_clip, read_barcode

pytestmark = pytest.mark.slow(15)

B_FRAMES = {"bf": "3", "b_strategy": "0"}
UNEVEN = [0, 1, 2, 10, 11, 12, 13, 40, 41, 42, 43, 44, 90, 91, 92, 93, 94, 95, 100, 101, *range(130, 190, 3)]
NUM_FRAMES = 40


def clip_of(name: str, **settings: Any) -> Callable[[Path], Path]:
    defaults: dict[str, Any] = {"num_frames": NUM_FRAMES, "gop": 15, "frame_rate": Fraction(30000, 1001)}
    return lambda folder: make_clip(folder / name, **{**defaults, **settings})


def lying_avi(folder: Path) -> Path:
    """Write an AVI whose header promises 9,999 frames, and return its path."""
    clip = clip_of("lying.avi", options={"bf": "0"})(folder)
    content = bytearray(clip.read_bytes())
    header = content.index(b"avih") + 8
    content[header + 16 : header + 20] = (9999).to_bytes(4, "little")
    stream = content.index(b"strh") + 8
    content[stream + 32 : stream + 36] = (9999).to_bytes(4, "little")
    clip.write_bytes(content)
    return clip


CLIPS: dict[str, Callable[[Path], Path]] = {
    "mp4, no B-frames": clip_of("plain.mp4", options={"bf": "0"}),
    "mp4, B-frames": clip_of("b.mp4", options=B_FRAMES),
    "mp4, open groups": clip_of("open.mp4", options={**B_FRAMES, "x264-params": "open-gop=1"}),
    "mp4, one keyframe": clip_of("long.mp4", gop=1000, options=B_FRAMES),
    "mp4, periodic intra refresh": clip_of("refresh.mp4", options={"bf": "0", "intra-refresh": "1"}),
    "mp4, fragmented": clip_of(
        "fragments.mp4", options=B_FRAMES, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "mp4, variable rate": clip_of(
        "uneven.mp4", pts=[value * 40 for value in UNEVEN], time_base=Fraction(1, 1000), options=B_FRAMES
    ),
    "mp4, starts late": clip_of(
        "late.mp4",
        pts=[90000 * 5 + 3003 * i for i in range(NUM_FRAMES)],
        time_base=Fraction(1, 90000),
        options=B_FRAMES,
    ),
    "mp4, edit list hides the start": clip_of(
        "edited.mp4",
        pts=[3003 * (i - 10) for i in range(NUM_FRAMES)],
        time_base=Fraction(1, 90000),
        options={"bf": "0"},
        container_options={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    ),
    "mp4, 10 bit": clip_of("deep.mp4", pix_fmt="yuv420p10le", options=B_FRAMES),
    "mp4, odd size": clip_of("odd.mp4", size=(193, 129), pix_fmt="yuv444p", options=B_FRAMES),
    "mp4, interlaced": clip_of("fields.mp4", options={**B_FRAMES, "flags": "+ildct+ilme"}),
    "mp4, wide pixels": clip_of("wide.mp4", sample_aspect_ratio=Fraction(4, 3), options=B_FRAMES),
    "mp4, hevc": clip_of("h.mp4", codec="libx265", options={"x265-params": "log-level=none:bframes=3:pools=none"}),
    "mp4, av1": clip_of(
        "a.mp4",
        codec="libsvtav1",
        options={"preset": "12", "crf": "8", "svtav1-params": "lp=1:enable-tf=0:pred-struct=1"},
    ),
    "mkv": clip_of("b.mkv", options=B_FRAMES),
    "webm, vp9": clip_of("v.webm", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    "MPEG-TS": clip_of("b.ts", options=B_FRAMES),
    "MPEG-TS, mpeg2": clip_of("two.ts", codec="mpeg2video", options={"bf": "2", "b": "4M"}),
    "flv": clip_of("b.flv", options=B_FRAMES),
    "avi, header count lies": lying_avi,
}
LISTED = {
    "mp4, no B-frames",
    "mp4, B-frames",
    "mp4, one keyframe",
    "mp4, fragmented",
    "mp4, variable rate",
    "mp4, starts late",
    "mp4, 10 bit",
    "mp4, odd size",
    "mp4, interlaced",
    "mp4, wide pixels",
}
"""The clips whose packet list describes all keyframes: mp4 with closed groups and no hidden frames."""
STRATEGIES: dict[str, dict[str, Any]] = {
    "time": {"strategy": "time", "every_seconds": 0.25},
    "snap": {"strategy": "time", "every_seconds": 0.25, "snap_tolerance_seconds": 0.1},
    "interval": {"strategy": "interval", "every_frames": 7},
    "keyframe": {"strategy": "keyframe", "max_gap_seconds": None},
    "uniform": {"strategy": "uniform", "num_frames": 9},
    "scene": {"strategy": "scene"},
    "every frame": {"strategy": "interval", "every_frames": 1},
}


def times_by_ffmpeg(clip: Path) -> list[Fraction]:
    """Return the exact time of every frame that ffmpeg's own decoder shows, in order."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-copyts", "-i", str(clip), "-map", "0:v:0"]
    command += ["-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framecrc", "-"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    [time_base] = [Fraction(line.split(":")[1].strip()) for line in lines if line.startswith("#tb 0:")]
    return [int(line.split(",")[2]) * time_base for line in lines if not line.startswith("#")]


def barcodes_by_pyav(clip: Path) -> list[int]:
    """Return the number in every frame that is shown when the clip is decoded from start to end."""
    with av.open(str(clip)) as container:
        return [read_barcode(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.fixture(scope="module", params=list(CLIPS))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CLIPS[request.param](tmp_path_factory.mktemp("clip"))


def expected_numbers(settings: dict[str, Any], times: list[Fraction], keyframes: list[int]) -> list[int] | None:
    """Return the frame numbers that follow from the times alone, or None if the strategy leaves a choice."""

    def on_screen(at: Fraction) -> int:
        return max(number for number, time in enumerate(times) if time <= at)

    match settings:
        case {"snap_tolerance_seconds": _} | {"strategy": "scene"}:
            return None
        case {"strategy": "time", "every_seconds": seconds}:
            count = int((times[-1] - times[0]) / Fraction(str(seconds))) + 1
            return sorted({on_screen(times[0] + k * Fraction(str(seconds))) for k in range(count)})
        case {"strategy": "interval", "every_frames": step}:
            return list(range(0, len(times), step))
        case {"strategy": "keyframe"}:
            return keyframes
        case _:
            return None


def make_frames(clip: Path, folder: Path, settings: dict[str, Any]) -> tuple[FrameFolderSummary, list[dict[str, Any]]]:
    folder.mkdir()
    config = ExtractionConfig.model_validate(settings)
    summary = make_frame_folder(FrameFolderJob("file-1", clip, folder, "fingerprint", config))
    return summary, read_table(folder / "frames.parquet").to_pylist()


def test_make_frame_folder__times_and_pictures(clip: Path, tmp_path: Path) -> None:
    times = times_by_ffmpeg(clip)
    summary, everything = make_frames(clip, tmp_path / "everything", STRATEGIES["every frame"])
    assert summary.num_source_frames == len(times)
    numbers_shown = barcodes_by_pyav(clip)
    # An edit list hides the first frames. Frame 16 may read as 31, which is what this build of SVT-AV1 draws.
    assert [number for number in numbers_shown if number != 31] == [
        number for number in range(NUM_FRAMES - len(times), NUM_FRAMES) if number not in (16, 31)
    ] or numbers_shown == list(range(NUM_FRAMES - len(times), NUM_FRAMES))
    keyframes = [row["source_frame_number"] for row in everything if row["is_keyframe"]]
    for name, settings in STRATEGIES.items():
        folder = tmp_path / name
        summary, rows = make_frames(clip, folder, settings)
        numbers = [row["source_frame_number"] for row in rows]
        expected = expected_numbers(settings, times, keyframes)
        assert expected is None or numbers == expected, name
        assert numbers, name
        assert summary.num_unmet == 0, name
        for row in rows:
            exact = Fraction(row["pts"] * row["time_base_numerator"], row["time_base_denominator"])
            assert exact == times[row["source_frame_number"]], name
            with Image.open(folder / row["file_name"]) as image:
                assert image.size == (row["width"], row["height"])
                assert read_barcode(np.asarray(image.convert("RGB"))) == numbers_shown[row["source_frame_number"]]


@pytest.mark.parametrize("name", list(CLIPS))
def test_read_group_index__agrees_with_every_packet(name: str, tmp_path: Path) -> None:
    clip = CLIPS[name](tmp_path)
    with open_video(clip) as stream:
        whole = read_index(stream)
    for groups in ([], [0], [1], [0, 1]):
        with open_video(clip) as stream:
            listed = read_group_index(stream, choose=lambda _, groups=groups: np.array(groups, np.int64))
        assert (listed is not None) == (name in LISTED)
        if listed is None:
            return
        assert whole is not None
        keyframes = whole.keyframe_pts.tolist()
        assert listed.keyframe_pts.tolist() == keyframes
        known = listed.frame_pts.tolist()
        assert set(known) <= set(whole.frame_pts.tolist())
        assert [listed.frame_number_of(pts) for pts in known] == [whole.frame_number_of(pts) for pts in known]
        for field in ("pts", "is_keyframe", "is_droppable", "is_shown", "size_bytes"):
            assert getattr(listed, field).tolist() == getattr(whole, field)[listed.ordinals].tolist()
        assert (listed.num_frames, listed.last_pts) == (whole.num_frames, whole.last_pts)
        assert listed.time_base == whole.time_base
        if len(keyframes) == 1:
            break


@pytest.mark.parametrize("rate", ["constant", "variable"])
def test_groups_to_read__the_same_frames_as_by_every_packet(rate: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    steps = np.full(400, 40) if rate == "constant" else rng.integers(5, 300, 400)
    clip = make_clip(
        tmp_path / "clip.mp4",
        num_frames=400,
        gop=25,
        pts=np.cumsum(steps).tolist(),
        time_base=Fraction(1, 1000),
        options=B_FRAMES,
    )
    with open_video(clip) as stream:
        whole = read_index(stream)
    assert whole is not None
    strategies: set[str] = set()
    for seconds in (0.9, 1, 2, 3, 5, 7.3, 12):
        for settings in (
            {"strategy": "time", "every_seconds": seconds},
            {"strategy": "uniform", "num_frames": int(20 / seconds)},
            {"strategy": "interval", "every_frames": int(25 * seconds)},
            {"strategy": "keyframe", "max_gap_seconds": seconds},
        ):
            for tolerance in (0.0, 0.04, 0.3, 0.6, 2.0):
                config = ExtractionConfig.model_validate({**settings, "snap_tolerance_seconds": tolerance})
                with open_video(clip) as stream:
                    index = read_group_index(stream, choose=partial(groups_to_read, config=config))
                if index is not None:
                    assert select_targets(index, config).tolist() == select_targets(whole, config).tolist(), config
                    if len(index) < len(whole):
                        strategies.add(config.strategy)
    assert strategies == {"time", "uniform", "interval", "keyframe"}


def bytes_read() -> int:
    """Return how many bytes this process has read so far with read calls. Source: proc(5), rchar."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_read_group_index__leaves_the_rest_unread(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 128, 192, 3), dtype=np.uint8)
    clip = make_clip(tmp_path / "noise.mp4", num_frames=600, gop=60, pictures=list(noise))
    num_bytes = []
    for reader in (partial(read_group_index, choose=lambda _: np.zeros(0, np.int64)), read_index):
        with open_video(clip) as stream:
            before = bytes_read()
            assert reader(stream) is not None
            num_bytes.append(bytes_read() - before)
    assert num_bytes[0] < num_bytes[1] / 3


def test_make_frame_folder__same_bytes_twice(clip: Path, tmp_path: Path) -> None:
    for name, settings in STRATEGIES.items():
        contents = []
        for run in ("a", "b"):
            folder = tmp_path / f"{name} {run}"
            make_frames(clip, folder, settings)
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert contents[0] == contents[1], name
