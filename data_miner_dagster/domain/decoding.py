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
    def frame_pts(self) -> Int64Array:
        """The distinct pts of all frames that are shown, ascending: entry i is frame number i of the video."""
        return np.unique(self.pts[self.is_shown])

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
        return int(np.searchsorted(self.frame_pts, pts))


@dataclass(frozen=True, kw_only=True)
class KeyframeIndex(VideoIndex):
    """The keyframes alone, all of them shown and reached by a seek: for a plan that takes nothing else.

    All arrays, `frame_pts` too, have one entry a keyframe; the first is the first frame. `frame_numbers` are their
    ordinals among all `num_shown` frames that the file shows, the last at `shown_last`.
    """

    frame_numbers: Int64Array
    num_shown: int
    shown_last: int

    @property
    def num_frames(self) -> int:
        return self.num_shown

    @property
    def last_pts(self) -> int:
        return self.shown_last

    def frame_number_of(self, pts: int) -> int:
        return int(self.frame_numbers[np.searchsorted(self.pts, pts)])


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
