"""Read a video file's index (times and kinds of all or some of its packets) without decoding."""

from array import array
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any, Final, Protocol

import av
import numpy as np
from av.container import InputContainer
from av.index import IndexEntries
from av.packet import Packet
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import GroupIndex, Int64Array, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.bitstreams import PacketInspector
from data_miner_dagster.media.containers import packets_of, stores_presentation_times

_LEAST_GROUP_PACKETS: Final = 12
"""The lowest average number of packets per keyframe at which seeking to each keyframe is cheaper than reading on."""


class _PacketColumns:
    """The per-packet fields of an index, collected one packet at a time."""

    def __init__(self, stream: VideoStream) -> None:
        self.inspector = PacketInspector(stream)
        self.pts, self.sizes = array("q"), array("q")
        self._keyframes, self._droppable, self._shown = bytearray(), bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def num_keyframes(self) -> int:
        return sum(self._keyframes)

    def add(self, packet: "Packet[Any]") -> bool:
        """Add a packet and return True, or return False if the packet has no presentation time."""
        if packet.pts is None:
            return False
        self.pts.append(packet.pts)
        self.sizes.append(packet.size)
        self._keyframes.append(packet.is_keyframe)
        self._droppable.append(self.inspector.is_droppable(packet))
        self._shown.append(not packet.is_discard)
        return True

    def as_arrays(self) -> dict[str, Any]:
        """Return the fields of `VideoIndex` with one entry per packet, in the order in which packets were added."""
        droppable = bytes(len(self)) if self.inspector.has_temporal_layers else bytes(self._droppable)
        return {
            "pts": np.array(self.pts, dtype=np.int64),
            "is_keyframe": np.frombuffer(bytes(self._keyframes), dtype=np.bool_),
            "is_droppable": np.frombuffer(droppable, dtype=np.bool_),
            "is_shown": np.frombuffer(bytes(self._shown), dtype=np.bool_),
            "size_bytes": np.array(self.sizes, dtype=np.int64),
        }


class ChooseGroups(Protocol):
    """Chooses the groups of packets to read, once the keyframes and the last group are known."""

    def __call__(self, index: GroupIndex) -> Int64Array | None:
        """Return the ordinals of further groups to read, ascending, or None to read all packets instead."""


def read_group_index(stream: VideoStream, *, choose: ChooseGroups, max_frames: int | None = None) -> GroupIndex | None:
    """Return a partial index of a freshly opened stream, or None if all packets must be read.

    The index contains the keyframes, everything after the last one, and the groups that `choose` returns. Packets are
    found through the file's own list (mp4, mov). The list has no presentation times, so frame numbers are reliable only
    if every keyframe is an instant refresh. Lists longer than `max_frames` are not used.
    """
    if not stores_presentation_times(stream) or stream.time_base is None:
        return None
    listed = stream.index_entries
    if max_frames is not None and len(listed) > max_frames:
        return None  # the list may claim more packets than the file has, so the packets are counted instead
    starts = _group_starts(listed)
    if starts is None:
        return None
    columns, ordinals = _PacketColumns(stream), array("q")
    bounds = list(pairwise([*starts, len(listed)]))
    if not _add_keyframes(stream, columns, ordinals, bounds):
        return None
    index = _group_index(stream, columns, ordinals, len(listed))
    chosen = None if index is None else choose(index)
    if chosen is None:
        return None
    keyframe_pts = columns.pts[: len(starts)]
    for group in chosen.tolist():
        packets = _sought(stream, keyframe_pts[group])
        packet = next(packets, None)
        if packet is None or packet.pts != keyframe_pts[group]:
            return None
        if not _add_rest(columns, ordinals, packets, bounds[group]):
            return None
    return _group_index(stream, columns, ordinals, len(listed)) if len(chosen) else index


def _group_starts(listed: "IndexEntries") -> list[int] | None:
    """Return the ordinals of the keyframes in the list, or None if the list is unreliable or would save too little."""
    starts: list[int] = []
    for number, entry in enumerate(listed):
        if entry.is_discard or not entry.size:
            return None
        if entry.is_keyframe:
            starts.append(number)
    if not starts or starts[0] != 0 or len(listed) < _LEAST_GROUP_PACKETS * len(starts):
        return None
    return starts


def _add_keyframes(
    stream: VideoStream, columns: _PacketColumns, ordinals: "array[int]", bounds: Sequence[tuple[int, int]]
) -> bool:
    """Add each group's keyframe and the whole last group. Return False if the packets differ from the list."""
    listed = stream.index_entries
    packets: Iterator[Packet[Any]] = iter(())
    for start, end in bounds:
        # Seeks use presentation times, which the list lacks. The middle of the group in decode order is nearly always
        # past its start in both orders. If it is not, a packet other than the listed one arrives.
        packets = _sought(stream, (listed[start].timestamp + listed[end - 1].timestamp) // 2)
        packet = next(packets, None)
        if packet is None or packet.dts != listed[start].timestamp or not columns.inspector.is_instant_refresh(packet):
            return False
        ordinals.append(start)
        if not columns.add(packet) or (len(columns) > 1 and columns.pts[-1] <= columns.pts[-2]):
            return False
    # False if the file is cut off, continues beyond the list, or has a packet without a presentation time.
    return _add_rest(columns, ordinals, packets, bounds[-1]) and next(packets, None) is None


def _sought(stream: VideoStream, pts: int) -> Iterator["Packet[Any]"]:
    """Return an iterator over the packets from the keyframe that a seek to `pts` reaches, empty if the seek fails."""
    container = stream.container
    assert isinstance(container, InputContainer)
    try:
        container.seek(pts, stream=stream)
    except av.FFmpegError:
        return iter(())
    return packets_of(stream)


def _add_rest(
    columns: _PacketColumns, ordinals: "array[int]", packets: Iterator["Packet[Any]"], bounds: tuple[int, int]
) -> bool:
    """Add the packets of one group after its keyframe. Return whether all were found and have times."""
    rest = range(bounds[0] + 1, bounds[1])
    ordinals.extend(rest)
    return sum(columns.add(packet) for packet in islice(packets, len(rest))) == len(rest)


def _group_index(
    stream: VideoStream, columns: _PacketColumns, ordinals: "array[int]", num_packets: int
) -> GroupIndex | None:
    """Return the index of the known packets in file order, or None if groups overlap or a time occurs twice."""
    assert stream.time_base is not None
    order = np.argsort(np.array(ordinals))
    arrays = {name: values[order] for name, values in columns.as_arrays().items()}
    index = GroupIndex(
        time_base=Fraction(stream.time_base),
        is_seekable=True,
        file_ordinals=np.array(ordinals, dtype=np.int64)[order],
        num_packets=num_packets,
        **arrays,
    )
    starts = index.pts[index.is_keyframe]
    ends = np.append(starts[1:], np.iinfo(np.int64).max)
    is_apart = bool(((index.pts >= starts[index.groups]) & (index.pts < ends[index.groups])).all())
    return index if is_apart and len(index.frame_pts) == len(index) else None


def _check_num_packets(num_packets: int, max_frames: int | None) -> None:
    if max_frames is not None and num_packets > max_frames:
        raise VideoPermanentError(
            VideoErrorKind.LIMIT_EXCEEDED,
            f"the video has more frames than platform.extraction.limits.max_source_frames={max_frames}; "
            "raise this limit to accept it",
        )


def read_index(stream: VideoStream, *, max_frames: int | None = None) -> VideoIndex | None:
    """Return the index of a freshly opened stream, or None if its packets have no reliable presentation times.

    The file is read from its start to its end (or to where it is cut off), and nothing is decoded.

    Raises:
        VideoPermanentError: the stream has more than `max_frames` packets.
    """
    num_entries = len(stream.index_entries)
    columns = _PacketColumns(stream)
    for packet in packets_of(stream):
        _check_num_packets(len(columns) + 1, max_frames)
        if not columns.add(packet):
            return None
    if not len(columns) or stream.time_base is None:
        return None
    index = VideoIndex(
        time_base=Fraction(stream.time_base),
        # The keyframes were listed before any packet was read, so a seek goes directly to its target.
        is_seekable=num_entries >= columns.num_keyframes > 0,
        **columns.as_arrays(),
    )
    return index if _is_believable(index, stream) else None


def _is_believable(index: VideoIndex, stream: VideoStream) -> bool:
    """Return whether the packets are reliable enough for planning: distinct stored times and at least one keyframe."""
    if len(np.unique(index.pts)) != len(index) or not index.is_keyframe.any():
        return False
    return stores_presentation_times(stream)
