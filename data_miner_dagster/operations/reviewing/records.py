"""Records of the questions that a person is shown, and of the person's answers.

Belongs here: the records that pages are drawn from. Does not belong here: their order (stages/reviewing_queues.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.stages.reviewing.states import BoxState


@dataclass(frozen=True, slots=True)
class ReviewBox:
    """One box of a frame, with the verdicts in force applied."""

    class_name: str
    box: RelativeBox
    state: BoxState
    shown: ShownBox  # the subject of an answer about this box; send it back unchanged
    num_agreeing_detectors: int | None = None  # None for a box that a person drew
    verdict: VerdictWord | None = None
    answer_id: str | None = None  # the id of that verdict; a correction sends it as `replaces`
    is_asked: bool = False  # True if the frame is shown because of this box


@dataclass(frozen=True, slots=True)
class ReviewFrame:
    """One frame with its boxes: first objects, then unsure boxes, then those that a release leaves out."""

    frame_id: str
    place: FramePlace
    resolution_wh: tuple[int, int]
    image: PictureFile
    video_title: str
    video_url: str  # at the time of the frame; a link only if it begins with http:// or https://
    boxes: tuple[ReviewBox, ...] = ()
    # The KEEP, DROP and COMPLETE verdicts in force, with their answer ids.
    verdicts: Mapping[VerdictWord, str] | None = None


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One question. `other` is the representative of a duplicate, and `similarity` and `tier` compare the two."""

    key: str  # unique in its queue; `Review.item` finds the question by it
    why: str  # the reason for asking, in one phrase
    frame: ReviewFrame
    other: ReviewFrame | None = None
    similarity: float | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some questions of a queue, in order."""

    queue: ReviewQueue
    items: tuple[ReviewItem, ...]
    num_open: int  # unanswered questions of the queue, within its filters
    next_cursor: str | None  # the start of the next page; None on the last page


@dataclass(frozen=True, slots=True)
class QueueCount:
    """The number of questions of a queue. `goal` is how many answers are enough; None if more always help."""

    queue: ReviewQueue
    num_open: int
    num_answered: int
    goal: int | None = None


@dataclass(frozen=True, slots=True)
class BrowsedName:
    """A class or a video that can be browsed, and its number of frames."""

    name: str  # the name of the class, or the key of the video
    title: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as a page sends it.

    `frame_id` and `pts_seconds` belong to the item's frame, and `other_frame_id` to its other frame.
    """

    answer_id: str  # chosen by the page, so that an answer sent twice is stored once
    word: VerdictWord
    queue: ReviewQueue
    frame_id: str
    pts_seconds: float
    shown: ShownBox | None = None  # `ReviewBox.shown`; for MISSING, the drawn box and its class
    new_class_name: str | None = None
    new_box: RelativeBox | None = None
    other_frame_id: str | None = None
    replaces: str | None = None
