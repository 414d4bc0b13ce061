"""What is known of a video before it is decoded, and the plan that is made of it.

Belongs here: the records that pass between planning (stages) and decoding (media). None decides or decodes.
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
    """The packets of a video stream in decode order, without their content. All arrays have one entry a packet.

    `pts` is in units of `time_base`. `is_droppable` packets are ones that no other packet needs for its decoding.
    `is_shown` is False for what an edit list hides. `is_seekable` says that the file lists its keyframes.

    If `is_from_content` the file's own times were missing or wrong: the entries are then decoded frames in order of
    presentation and say nothing of packets.
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
        """The place of each packet among all packets of the stream."""
        return np.arange(len(self))

    @cached_property
    def frame_pts(self) -> Int64Array:
        """The distinct pts of the frames that are shown and known, ascending."""
        return np.unique(self.pts[self.is_shown])

    @cached_property
    def frame_numbers(self) -> Int64Array:
        """The ordinal of each of `frame_pts` among all frames that the video shows."""
        return np.arange(len(self.frame_pts))

    @cached_property
    def keyframe_pts(self) -> Int64Array:
        """The pts of the keyframes that are shown, ascending."""
        return np.unique(self.pts[self.is_shown & self.is_keyframe])

    @property
    def num_frames(self) -> int:
        """How many frames are shown."""
        return len(self.frame_pts)

    @property
    def last_pts(self) -> int:
        """The pts of the last frame that is shown; there is one."""
        return int(self.frame_pts[-1])

    def frame_number_of(self, pts: int) -> int:
        """Return the ordinal, among all frames that are shown, of one of `frame_pts`."""
        return int(self.frame_numbers[np.searchsorted(self.frame_pts, pts)])


@dataclass(frozen=True, kw_only=True)
class GroupIndex(VideoIndex):
    """Every keyframe, and of some groups (a keyframe and what follows it up to the next) the other packets.

    Every packet of the file is one frame that is shown, and none of a group is shown before or after all of another.
    So the n-th group shows the frames whose numbers are its packets' ordinals. `file_ordinals` are those of the packets
    that are known, ascending; the first packet and the whole last group are. The file has `num_packets`.
    """

    file_ordinals: Int64Array
    num_packets: int

    @property
    def ordinals(self) -> Int64Array:
        return self.file_ordinals

    @cached_property
    def frame_numbers(self) -> Int64Array:
        first_of_group = np.flatnonzero(self.is_keyframe)
        rank_in_group = np.arange(len(self)) - first_of_group[self.groups]
        numbers: Int64Array = self.group_starts[self.groups] + rank_in_group
        return numbers

    @property
    def num_frames(self) -> int:
        return self.num_packets

    @cached_property
    def groups(self) -> Int64Array:
        """The group of each packet; the same in order of presentation, since groups do not mix."""
        return np.cumsum(self.is_keyframe) - 1

    @cached_property
    def group_starts(self) -> Int64Array:
        """The ordinals of the keyframes."""
        return self.file_ordinals[self.is_keyframe]

    @cached_property
    def group_sizes(self) -> Int64Array:
        """How many packets each group has."""
        return np.diff(self.group_starts, append=self.num_packets)


@dataclass(frozen=True, slots=True)
class DecodePlan:
    """Which packets to decode in order to see `target_pts` (ascending, distinct, in the index's time base).

    `is_sent[i]` says whether packet i goes to the decoder; None sends all. Before each packet of `restarts` the
    decoder is emptied and reset, because packets before it were left out. `seeks` are the packets that are
    reached by a seek instead of by reading on; in a seekable file the first packet is one, too.
    """

    target_pts: Int64Array
    is_sent: BoolArray | None = None
    restarts: frozenset[int] = frozenset()
    seeks: frozenset[int] = frozenset()

    @property
    def num_sent(self) -> int | None:
        """How many packets are decoded; None: all."""
        return None if self.is_sent is None else int(np.count_nonzero(self.is_sent))
