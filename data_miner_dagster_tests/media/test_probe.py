"""Tests on tiny real files of the check that a file is a video."""

from fractions import Fraction
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster_tests.support.barcode_clips import make_clip
from data_miner_dagster_tests.support.small_videos import make_audio, make_video

PIXELS = 10**7


def kind_of(path: Path, max_pixels: int = PIXELS) -> VideoErrorKind:
    with pytest.raises(VideoPermanentError) as error:
        probe_video(path, max_pixels=max_pixels)
    assert str(error.value).count("; ") == 1  # a single remedy, even if one error caused another
    return error.value.kind


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.mov"])
def test_probe_video__good_files(tmp_path: Path, name: str) -> None:
    probed = probe_video(make_video(tmp_path / name, num_frames=60, frame_rate=10), max_pixels=PIXELS)
    assert probed.duration_seconds == pytest.approx(6.0, abs=0.11)
    assert (probed.width, probed.height, probed.codec) == (64, 48, "mpeg4")


def test_probe_video__one_frame(tmp_path: Path) -> None:
    assert probe_video(make_video(tmp_path / "a.mp4", num_frames=1), max_pixels=PIXELS).width == 64


def test_probe_video__no_header_duration(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.ts", num_frames=50, frame_rate=25, codec="mpeg2video")
    assert probe_video(path, max_pixels=PIXELS).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_probe_video__asf_counts_its_length_from_zero(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.asf",
        num_frames=50,
        frame_rate=Fraction(25),
        codec="msmpeg4",
        pts=[round(60_000 * (1.4 + number / 25)) for number in range(50)],
        time_base=Fraction(1, 60_000),
    )
    assert probe_video(path, max_pixels=PIXELS).duration_seconds == pytest.approx(2.0, abs=0.1)


def test_probe_video__empty(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert kind_of(tmp_path / "a.mp4") is VideoErrorKind.EMPTY_FILE


@pytest.mark.parametrize(
    "content",
    [
        b"\n<!DOCTYPE html><html><body>Not found</body></html>",
        b"just some words that are no video at all" * 20,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
)
def test_probe_video__not_a_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    assert kind_of(tmp_path / "a.mp4") is VideoErrorKind.NOT_A_VIDEO


def test_probe_video__audio_only(tmp_path: Path) -> None:
    assert kind_of(make_audio(tmp_path / "a.mp4")) is VideoErrorKind.NO_VIDEO_STREAM


@pytest.mark.parametrize(
    ("name", "faststart"), [("a.mp4", False), ("a.mp4", True), ("a.mkv", False)], ids=["moov last", "moov first", "mkv"]
)
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_probe_video__truncated(tmp_path: Path, name: str, faststart: bool, share: float) -> None:
    path = make_video(tmp_path / name, num_frames=120, faststart=faststart)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert kind_of(path) is VideoErrorKind.TRUNCATED


def test_probe_video__damaged_in_the_middle_of_its_index(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=60)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - start)
    path.write_bytes(content)
    assert kind_of(path) is VideoErrorKind.UNDECODABLE


def test_probe_video__too_many_pixels(tmp_path: Path) -> None:
    assert kind_of(make_video(tmp_path / "a.mp4"), max_pixels=64 * 48 - 1) is VideoErrorKind.LIMIT_EXCEEDED
