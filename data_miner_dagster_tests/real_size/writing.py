"""Write one clip with PyAV: any container, codec, rate, group length, start time, matrix, cover and sound."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from data_miner_dagster_tests.real_size.pictures import Picture

SOUND_RATE: Final = 44_100
_SOUND_BLOCK: Final = 1024
os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder logs only errors
_TICKS: Final = 60_000
"""Ticks per second if pictures have their own times; MPEG-4 has no finer clock."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are encoded and stored. `options` are for the codec, `mux_options` for the container."""

    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    container: str | None = None  # libavformat's name, or None to use the file's suffix
    mux_options: Mapping[str, str] = field(default_factory=dict)
    group: int = 12
    matrix: tuple[int, ...] | None = None  # the display matrix, as stored in `tkhd`
    aspect: Fraction | None = None  # of a pixel
    colours: Mapping[str, int] = field(default_factory=dict)  # attributes of the codec context
    sound_seconds: float = 0.0
    with_cover: bool = False
    smaller_stream_first: bool = False
    larger_is_default: bool = True


DEFAULT_ENCODING: Final = Encoding()


def write_clip(
    path: Path,
    pictures: Sequence[Picture],
    rate: Fraction,
    encoding: Encoding,
    *,
    times: Sequence[Fraction] | None = None,
) -> None:
    """Write pictures as a clip. Picture i is shown at `times[i]`, or at `i / rate` if `times` is None."""
    with av.open(str(path), "w", format=encoding.container, options=dict(encoding.mux_options)) as container:
        small, stream = _add_streams(container, pictures[0], rate, encoding)
        tick = 1 / rate
        if times is not None:
            tick = Fraction(1, _TICKS)
            stream.codec_context.time_base = tick
        sound = _sound(container) if encoding.sound_seconds else None
        if encoding.with_cover:
            _mux_cover(container)
        for number, picture in enumerate(pictures):
            seconds = times[number] if times is not None else number / rate
            for one, content in ((small, picture[::2, ::2]), (stream, picture)):
                if one is not None:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(content), format="rgb24")
                    frame.pts, frame.time_base = round(seconds / tick), tick
                    container.mux(one.encode(frame))
            if sound is not None:
                sound.mux_until(float(number / rate))
        for one in (small, stream):
            if one is not None:
                container.mux(one.encode(None))
        if sound is not None:
            sound.finish(encoding.sound_seconds)


def _add_streams(
    container: OutputContainer, picture: Picture, rate: Fraction, encoding: Encoding
) -> tuple[VideoStream | None, VideoStream]:
    """Add a full-size stream and, if requested, a half-size one before it; return (half-size or None, full-size)."""
    if not encoding.smaller_stream_first:
        return None, _add_stream(container, picture, rate, encoding)
    small = _add_stream(container, picture[::2, ::2], rate, encoding)
    small.disposition = Disposition(0)
    stream = _add_stream(container, picture, rate, encoding)
    stream.disposition = Disposition.default if encoding.larger_is_default else Disposition(0)
    return small, stream


def _add_stream(container: OutputContainer, picture: Picture, rate: Fraction, encoding: Encoding) -> VideoStream:
    stream = container.add_stream(encoding.codec, rate=rate)
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = encoding.pix_fmt
    stream.gop_size = encoding.group
    fast = {"preset": "ultrafast", "sc_threshold": "0", "crf": "16"} if encoding.codec.startswith("libx264") else {}
    stream.options = {"threads": "1", **fast, **encoding.options}
    if encoding.aspect is not None:
        stream.codec_context.sample_aspect_ratio = encoding.aspect
    for name, value in encoding.colours.items():
        setattr(stream.codec_context, name, value)
    if encoding.matrix is not None:
        stream.set_display_matrix(encoding.matrix)
    return stream


@dataclass(slots=True)
class _Sound:
    """A quiet tone that is muxed alongside the pictures."""

    container: OutputContainer
    stream: Any
    position: int = 0

    def mux_until(self, seconds: float) -> None:
        while self.position < seconds * SOUND_RATE:
            wave = np.sin(np.arange(self.position, self.position + _SOUND_BLOCK) / 20) / 9
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None, :], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self.position, Fraction(1, SOUND_RATE)
            self.container.mux(self.stream.encode(frame))
            self.position += _SOUND_BLOCK

    def finish(self, seconds: float) -> None:
        self.mux_until(seconds)
        self.container.mux(self.stream.encode(None))


def _sound(container: OutputContainer) -> _Sound:
    return _Sound(container, container.add_stream("aac", rate=SOUND_RATE, layout="mono"))


def _mux_cover(container: OutputContainer) -> None:
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 200, 200, "yuvj420p"
    stream.disposition = Disposition.attached_pic
    cover = av.VideoFrame.from_image(Image.new("RGB", (200, 200), (250, 120, 10))).reformat(format="yuvj420p")
    cover.pts = 0
    container.mux([*stream.encode(cover), *stream.encode()])


def write_sound(path: Path, *, with_cover: bool = False) -> None:
    """Write a second of sound without moving pictures, but with a cover picture if `with_cover`."""
    with av.open(str(path), "w") as container:
        sound = _sound(container)
        if with_cover:
            _mux_cover(container)
        sound.finish(1.0)


def boxes_of(content: bytes, low: int, high: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the (start, size, kind) of each ISO box between the offsets `low` and `high` of an mp4."""
    while low < high:
        size = int.from_bytes(content[low : low + 4], "big")
        yield low, size, content[low + 4 : low + 8]
        low += size


def cover_first(content: bytes) -> bytes:
    """Return an mp4 whose cover comes before its tracks, so that the cover is stream 0."""
    changed = bytearray(content)
    order = {b"mvhd": 0, b"udta": 1}
    for start, size, kind in list(boxes_of(content, 0, len(content))):
        if kind == b"moov":
            inner = list(boxes_of(content, start + 8, start + size))
            inner.sort(key=lambda box: order.get(box[2], 2))
            changed[start + 8 : start + size] = b"".join(content[at : at + length] for at, length, _ in inner)
    return bytes(changed)
