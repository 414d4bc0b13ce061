"""Opening a video file and reading its index: every packet's time and kind, nothing decoded."""

from array import array
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import KeyframeIndex, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.bitstreams import PacketInspector
from data_miner_dagster.media.probe import CONTAINER_OPTIONS

_ATTACHED_PICTURE: Final = "attached_pic"
_STORES_PRESENTATION_TIMES: Final = frozenset(
    {"mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "flv", "ogg", "mxf", "asf"}
)
"""Formats (libavformat's names) that say when a picture is shown; AVI and raw streams only count packets."""
_DECODE_NOTHING: Final = {"skip_frame": "all"}
"""For the decoder with which libavformat tries a stream's first pictures: that costs as much as a keyframe or two."""

_LEAST_GROUP_PACKETS: Final = 12
"""On average from keyframe to keyframe, for a seek to each to be cheaper than reading on."""


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
        trial = _DECODE_NOTHING if _describes_its_streams(path) else {}
        container = av.open(str(path), options={**CONTAINER_OPTIONS, **trial})
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


def _describes_its_streams(path: Path) -> bool:
    """Return whether a file's header tells what libavformat finds out by decoding elsewhere: mp4, mov, mkv, webm."""
    with path.open("rb") as file:
        head = file.read(8)
    return head[4:] == b"ftyp" or head[:4] == b"\x1a\x45\xdf\xa3"  # ISO/IEC 14496-12, 4.3; RFC 8794, 11.2.1


def _moving_pictures(container: InputContainer, path: Path) -> VideoStream:
    streams = [stream for stream in container.streams.video if _ATTACHED_PICTURE not in str(stream.disposition).lower()]
    if not streams:
        raise VideoPermanentError(
            VideoErrorKind.NO_VIDEO_STREAM, f"{path.name} has no moving pictures (sound or a cover at most)"
        )
    return max(streams, key=lambda stream: ("default" in str(stream.disposition).lower(), -stream.index))


def read_keyframe_index(stream: VideoStream, *, max_frames: int | None = None) -> KeyframeIndex | None:
    """Return the keyframes of a freshly opened stream, or None if only reading every packet tells enough.

    Reads the keyframes and what follows the last one, by the file's own list of its packets (mp4, mov). The list has no
    times of presentation, so frame numbers are sure only where every keyframe is an instant refresh.

    Raises:
        VideoPermanentError: there are more than `max_frames` packets.
    """
    listed = stream.index_entries
    starts: list[int] = []
    for number, entry in enumerate(listed):
        if entry.is_discard or not entry.size:
            return None
        if entry.is_keyframe:
            starts.append(number)
    if not starts or starts[0] != 0 or len(listed) < _LEAST_GROUP_PACKETS * len(starts):
        return None
    if not stores_presentation_times(stream):
        return None
    _check_num_packets(len(listed), max_frames)
    inspector = PacketInspector(stream)
    container, time_base = stream.container, stream.time_base
    assert isinstance(container, InputContainer)
    pts: list[int] = []
    for start, end in zip(starts, [*starts[1:], len(listed)], strict=True):
        # Seeks are by presentation, of which the list says nothing: the middle of the group in decode order is nearly
        # always past its start in both. Where it is not, another packet than the one listed comes.
        try:
            container.seek((listed[start].timestamp + listed[end - 1].timestamp) // 2, stream=stream)
        except av.FFmpegError:
            return None
        packets = packets_of(stream)
        packet = next(packets, None)
        if packet is None or packet.dts != listed[start].timestamp or not inspector.is_instant_refresh(packet):
            return None
        if packet.pts is None or (pts and packet.pts <= pts[-1]):
            return None
        pts.append(packet.pts)
    num_rest = len(listed) - starts[-1] - 1
    rest = [packet.pts for packet in islice(packets, num_rest + 1) if packet.pts is not None]
    if len(rest) != num_rest or time_base is None:
        return None  # cut off, goes on beyond what is listed, or does not say when
    ones = np.ones(len(starts), np.bool_)
    return KeyframeIndex(
        time_base=Fraction(time_base),
        pts=np.array(pts, dtype=np.int64),
        is_keyframe=ones,
        is_droppable=~ones,
        is_shown=ones,
        size_bytes=np.array([listed[start].size for start in starts], dtype=np.int64),
        is_seekable=True,
        frame_numbers=np.array(starts, dtype=np.int64),
        num_shown=len(listed),
        shown_last=max([pts[-1], *rest]),
    )


def _check_num_packets(num_packets: int, max_frames: int | None) -> None:
    if max_frames is not None and num_packets > max_frames:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED, f"more frames than extraction.limits.max_source_frames={max_frames}"
        )


def read_index(stream: VideoStream, *, max_frames: int | None = None) -> VideoIndex | None:
    """Return the index of a freshly opened stream, or None if its packets do not say when their pictures are shown.

    Reads the file from its start to its end (or to where it is cut off) and decodes nothing.

    Raises:
        VideoPermanentError: there are more than `max_frames` packets.
    """
    inspector = PacketInspector(stream)
    num_entries = len(stream.index_entries)
    pts, sizes = array("q"), array("q")
    keyframes, droppable, shown = bytearray(), bytearray(), bytearray()
    time_base = stream.time_base
    for packet in packets_of(stream):
        if packet.pts is None:
            return None
        _check_num_packets(len(pts) + 1, max_frames)
        pts.append(packet.pts)
        sizes.append(packet.size)
        keyframes.append(packet.is_keyframe)
        droppable.append(inspector.is_droppable(packet))
        shown.append(not packet.is_discard)
    if not pts or time_base is None:
        return None
    index = VideoIndex(
        time_base=Fraction(time_base),
        pts=np.array(pts, dtype=np.int64),
        is_keyframe=np.frombuffer(bytes(keyframes), dtype=np.bool_),
        is_droppable=np.frombuffer(bytes(len(pts) if inspector.has_temporal_layers else droppable), dtype=np.bool_),
        is_shown=np.frombuffer(bytes(shown), dtype=np.bool_),
        size_bytes=np.array(sizes, dtype=np.int64),
        # Known before anything was read: a seek goes straight to its place.
        is_seekable=num_entries >= sum(keyframes) > 0,
    )
    return index if _is_believable(index, stream) else None


def _is_believable(index: VideoIndex, stream: VideoStream) -> bool:
    """Return whether the packets' word is worth planning by: one time a picture, and a keyframe to start from."""
    if len(np.unique(index.pts)) != len(index) or not index.is_keyframe.any():
        return False
    return stores_presentation_times(stream)


def stores_presentation_times(stream: VideoStream) -> bool:
    """Return whether the container says when a picture is shown, rather than only in which order it is decoded."""
    return not _STORES_PRESENTATION_TIMES.isdisjoint(stream.container.format.name.split(","))


def packets_of(stream: VideoStream) -> Generator["Packet[Any]", None, None]:
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
