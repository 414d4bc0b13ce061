"""Tests which stream of a file is the video: the probe and the frame extraction must choose the same one."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Disposition

from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.probe import probe_video
from data_miner_dagster_tests.support.barcode_clips import barcode_picture, make_clip

NUM_FRAMES = 10


def add_video(container: OutputContainer, size: tuple[int, int], disposition: Disposition) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=25)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt, stream.disposition = *size, "yuv420p", disposition
    return stream


def add_cover(container: OutputContainer) -> av.VideoStream:
    stream = container.add_stream("mjpeg", rate=1)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt, stream.disposition = 400, 400, "yuvj420p", Disposition.attached_pic
    return stream


def mux_cover(container: OutputContainer, stream: av.VideoStream) -> None:
    picture = np.full((400, 400, 3), (250, 120, 10), np.uint8)
    cover = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuvj420p")
    cover.pts = 0
    container.mux([*stream.encode(cover), *stream.encode(None)])


def mux_videos(container: OutputContainer, streams: Iterable[av.VideoStream]) -> None:
    for number in range(NUM_FRAMES):
        for stream in streams:
            picture = barcode_picture(number, stream.width, stream.height)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
    for stream in streams:
        container.mux(stream.encode(None))


def chosen(path: Path) -> tuple[int, int]:
    """Return the size of the stream that both choose."""
    probed = probe_video(path, max_pixels=10**6)
    with open_video(path) as stream:
        size = (stream.codec_context.width, stream.codec_context.height)
    assert (probed.width, probed.height) == size
    return size


def covered_clip(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video, cover = add_video(container, (192, 128), Disposition.default), add_cover(container)
        mux_cover(container, cover)
        mux_videos(container, [video])
    return path


def with_cover_first(content: bytes) -> bytes:
    """Move the box with an mp4's cover in front of its tracks, so that the cover becomes stream 0."""

    def boxes(low: int, high: int) -> Iterable[tuple[bytes, bytes]]:
        while low < high:
            size = int.from_bytes(content[low : low + 4], "big")
            yield content[low + 4 : low + 8], content[low : low + size]
            low += size

    parts = []
    for kind, box in boxes(0, len(content)):
        if kind == b"moov":
            start = content.index(box)
            inner = sorted(
                boxes(start + 8, start + len(box)), key=lambda pair: {b"mvhd": 0, b"udta": 1}.get(pair[0], 2)
            )
            parts.append(box[:8] + b"".join(part for _, part in inner))
        else:
            parts.append(box)
    return b"".join(parts)


def test_moving_pictures__cover_behind_or_before_the_video(tmp_path: Path) -> None:
    path = covered_clip(tmp_path / "a.mp4")
    assert chosen(path) == (192, 128)
    path.write_bytes(with_cover_first(path.read_bytes()))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mjpeg"
    assert chosen(path) == (192, 128)


def test_moving_pictures__sound_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("aac", rate=8000, layout="mono"), add_cover(container)
        assert isinstance(sound, av.AudioStream)
        mux_cover(container, cover)
        for number in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, 1024 * number, Fraction(1, 8000)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoPermanentError) as failure:
        probe_video(path, max_pixels=10**6)
    assert failure.value.kind is VideoErrorKind.NO_VIDEO_STREAM


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (((96, 64), Disposition(0)), ((192, 128), Disposition.default), (192, 128)),
        (((96, 64), Disposition.default), ((192, 128), Disposition(0)), (96, 64)),
        (((96, 64), Disposition.default), ((192, 128), Disposition.default), (192, 128)),
        (((192, 128), Disposition.default), ((96, 64), Disposition.default), (192, 128)),
    ],
)
def test_moving_pictures__default_then_most_pixels(
    first: tuple[tuple[int, int], Disposition],
    second: tuple[tuple[int, int], Disposition],
    wanted: tuple[int, int],
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        mux_videos(container, [add_video(container, *first), add_video(container, *second)])
    assert chosen(path) == wanted


def test_moving_pictures__unknown_codec(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=5)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    for look in (lambda: probe_video(path, max_pixels=10**6), lambda: open_video(path).__enter__()):
        with pytest.raises(VideoPermanentError) as failure:
            look()
        assert failure.value.kind is VideoErrorKind.UNDECODABLE
        assert "codec" in str(failure.value)
