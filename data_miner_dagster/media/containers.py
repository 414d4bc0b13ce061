"""Opening a video file and reading its index: every packet's time and kind, nothing decoded."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind

_ATTACHED_PICTURE: Final = "attached_pic"
_STORES_PRESENTATION_TIMES: Final = frozenset(
    {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg", "mxf", "asf"}
)
"""Formats (libavformat's names) that say when a picture is shown; AVI and raw streams only count packets."""


@contextmanager
def open_video(path: Path, *, num_threads: int = 1, max_pixels: int | None = None) -> Iterator[VideoStream]:
    """Yield the video stream of a file, its decoder set to `num_threads`.

    Raises:
        VideoPermanentError: there is no such file, it is empty, no container, or has no moving pictures.
    """
    if not path.is_file():
        raise VideoPermanentError(VideoErrorKind.MISSING_FILE, f"{path.name} is not there; download it again")
    if path.stat().st_size == 0:
        raise VideoPermanentError(VideoErrorKind.EMPTY_FILE, f"{path.name} has no bytes; download it again")
    try:
        # Only this very file: a playlist that names others, or an address, is not followed.
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        raise VideoPermanentError(VideoErrorKind.NOT_A_VIDEO, f"{path.name} is no video file: {error}") from error
    with container:
        stream = _moving_pictures(container, path)
        codec = stream.codec_context
        if codec is None:
            raise VideoPermanentError(
                VideoErrorKind.UNDECODABLE, f"{path.name}: no decoder for its video codec; re-encode it"
            )
        if max_pixels is not None and codec.width * codec.height > max_pixels:
            raise VideoPermanentError(
                VideoErrorKind.LIMIT_EXCEEDED,
                f"pictures of {codec.width}x{codec.height} are more than extraction.limits.max_pixels={max_pixels}",
            )
        codec.thread_count = num_threads
        codec.thread_type = "AUTO" if num_threads > 1 else "SLICE"
        yield stream


def _moving_pictures(container: InputContainer, path: Path) -> VideoStream:
    streams = [stream for stream in container.streams.video if _ATTACHED_PICTURE not in str(stream.disposition).lower()]
    if not streams:
        raise VideoPermanentError(
            VideoErrorKind.NO_VIDEO_STREAM, f"{path.name} has no moving pictures (sound or a cover at most)"
        )
    return max(streams, key=lambda stream: ("default" in str(stream.disposition).lower(), -stream.index))


def read_index(stream: VideoStream, *, max_frames: int | None = None) -> VideoIndex | None:
    """Return the index of a freshly opened stream, or None if its packets do not say when their pictures are shown.

    Reads the file from its start to its end (or to where it is cut off) and decodes nothing.

    Raises:
        VideoPermanentError: there are more than `max_frames` packets.
    """
    is_droppable = _droppable_test(stream)
    pts, sizes = array("q"), array("q")
    keyframes, droppable, shown = bytearray(), bytearray(), bytearray()
    time_base = stream.time_base
    for packet in packets_of(stream):
        if packet.pts is None or packet.time_base != time_base:
            return None
        if max_frames is not None and len(pts) >= max_frames:
            raise VideoPermanentError(
                VideoErrorKind.LIMIT_EXCEEDED, f"more frames than extraction.limits.max_source_frames={max_frames}"
            )
        pts.append(packet.pts)
        sizes.append(packet.size)
        keyframes.append(packet.is_keyframe)
        droppable.append(is_droppable(packet))
        shown.append(not packet.is_discard)
    if not pts or time_base is None:
        return None
    index = VideoIndex(
        time_base=Fraction(time_base),
        pts=np.array(pts, dtype=np.int64),
        is_keyframe=np.frombuffer(bytes(keyframes), dtype=np.bool_),
        is_droppable=np.frombuffer(bytes(droppable), dtype=np.bool_),
        is_shown=np.frombuffer(bytes(shown), dtype=np.bool_),
        size_bytes=np.array(sizes, dtype=np.int64),
    )
    return index if _is_believable(index, stream) else None


def _is_believable(index: VideoIndex, stream: VideoStream) -> bool:
    """Return whether the packets' word is worth planning by: one time a picture, and a keyframe to start from."""
    if len(np.unique(index.pts)) != len(index) or not index.is_keyframe.any():
        return False
    names = set(stream.container.format.name.split(","))
    is_counted_only = names.isdisjoint(_STORES_PRESENTATION_TIMES) and bool(np.all(np.diff(index.pts) > 0))
    return not (is_counted_only and stream.codec_context.has_b_frames)


def packets_of(stream: VideoStream) -> Iterator["Packet[Any]"]:
    """Yield the packets of one stream, in decode order, up to the end or to where the file becomes unreadable."""
    container = stream.container
    assert isinstance(container, InputContainer)
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer)
        except (StopIteration, av.InvalidDataError, av.EOFError):
            return
        if packet.size:
            yield packet


def _droppable_test(stream: VideoStream) -> Callable[["Packet[Any]"], bool]:
    """Return a function that says of a packet whether no other one refers to it. In doubt it says no."""
    codec = stream.codec_context
    if codec.name == "h264":
        length_size = _avcc_length_size(codec.extradata)
        return lambda packet: _is_h264_droppable(packet, length_size)
    return lambda packet: packet.is_disposable


def _avcc_length_size(extradata: bytes | None) -> int | None:
    """Bytes of each NAL unit's length; None where units are separated by start codes. Source: ISO 14496-15, 5.3.3."""
    if extradata is None or len(extradata) < 7 or extradata[0] != 1:
        return None
    return (extradata[4] & 3) + 1


def _is_h264_droppable(packet: "Packet[Any]", length_size: int | None) -> bool:
    """Return whether the first slice has nal_ref_idc 0. Source: ITU-T H.264, 7.3.1 and 7.4.1."""
    content = memoryview(packet)
    position, end = 0, len(content)
    if length_size is None:
        head = bytes(content[:4096])
        while (position := head.find(b"\x00\x00\x01", position)) >= 0 and position + 3 < len(head):
            header = head[position + 3]
            if 1 <= header & 0x1F <= 5:
                return header & 0x60 == 0
            position += 3
        return False
    while position + length_size < end:
        header = content[position + length_size]
        if 1 <= header & 0x1F <= 5:
            return header & 0x60 == 0
        position += length_size + int.from_bytes(content[position : position + length_size], "big")
    return False
