"""The index of a video's packets, which is known before decoding, and the decode plan that is built from it.

Belongs here: the records passed between planning (stages) and decoding (media). Does not belong here: the planning and
decoding themselves.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class VideoIndex:
    """The index of a video stream: its packets in decode order, or its frames if `is_from_content`.

    All arrays have one entry per packet or frame. `pts` is in units of `time_base`. `is_droppable` marks packets that
    no other packet needs for decoding. `is_shown` is False for packets hidden by an edit list. `is_seekable` means that
    the file lists its keyframes.

    If `is_from_content`, the file's own times were missing or wrong. The entries are then decoded frames in
    presentation order, and give no information about packets.
    """

    time_base: Fraction
    pts: Int64Array
    is_keyframe: BoolArray
    is_droppable: BoolArray
    is_shown: BoolArray
    size_bytes: Int64Array
    is_seekable: bool = False
    is_from_content: bool = False

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def ordinals(self) -> Int64Array:
        """The position of each packet among all packets of the stream."""
        return np.arange(len(self))

    @cached_property
    def frame_pts(self) -> Int64Array:
        """The distinct pts of the shown frames in this index, ascending."""
        return np.unique(self.pts[self.is_shown])

    @cached_property
    def frame_numbers(self) -> Int64Array:
        """The ordinal of each entry of `frame_pts` among all shown frames of the video."""
        return np.arange(len(self.frame_pts))

    @cached_property
    def keyframe_pts(self) -> Int64Array:
        """The pts of the shown keyframes, ascending."""
        return np.unique(self.pts[self.is_shown & self.is_keyframe])

    @property
    def num_frames(self) -> int:
        """The number of shown frames."""
        return len(self.frame_pts)

    @property
    def last_pts(self) -> int:
        """The pts of the last shown frame. Requires at least one shown frame."""
        return int(self.frame_pts[-1])

    def frame_number_of(self, pts: int) -> int:
        """Return the ordinal, among all shown frames, of the frame at `pts`, which must be one of `frame_pts`."""
        return int(self.frame_numbers[np.searchsorted(self.frame_pts, pts)])


@dataclass(frozen=True, kw_only=True)
class GroupIndex(VideoIndex):
    """A partial index, with all keyframes, but with the other packets of only some groups.

    A group is a keyframe with the packets up to the next keyframe.

    Requires: every packet contains exactly one shown frame, and groups do not overlap in time. The n-th group therefore
    shows the frames whose numbers are its packets' ordinals. `file_ordinals` are the file positions of the known
    packets, ascending; they always include the first packet and the whole last group. The file has `num_packets`
    packets.
    """

    file_ordinals: Int64Array
    num_packets: int

    @property
    def ordinals(self) -> Int64Array:
        """The file positions of the indexed packets."""
        return self.file_ordinals

    @cached_property
    def frame_numbers(self) -> Int64Array:
        """The number of each entry of `frame_pts`, counted in presentation order over all frames of the file."""
        first_of_group = np.flatnonzero(self.is_keyframe)
        rank_in_group = np.arange(len(self)) - first_of_group[self.groups]
        numbers: Int64Array = self.group_starts[self.groups] + rank_in_group
        return numbers

    @property
    def num_frames(self) -> int:
        """The number of frames: one per packet."""
        return self.num_packets

    @cached_property
    def groups(self) -> Int64Array:
        """The number of each packet's group, counting from 0. Groups are the same in decode and presentation order."""
        return np.cumsum(self.is_keyframe) - 1

    @cached_property
    def group_starts(self) -> Int64Array:
        """The ordinals of the keyframes."""
        return self.file_ordinals[self.is_keyframe]

    @cached_property
    def group_sizes(self) -> Int64Array:
        """The number of packets in each group."""
        return np.diff(self.group_starts, append=self.num_packets)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """The packets to decode in order to obtain `target_pts` (ascending, distinct, in the index's time base).

    `is_sent[i]` states whether packet i is sent to the decoder. If `is_sent` is None, all packets are. The decoder is
    flushed and reset before each packet in `restarts`, because packets before it were skipped. `seeks` are the packets
    that are reached by seeking instead of reading on. In a seekable file, they include the first packet.
    """

    target_pts: Int64Array
    is_sent: BoolArray | None = None
    restarts: frozenset[int] = frozenset()
    seeks: frozenset[int] = frozenset()
