"""What a person is shown, and what they answer.

Belongs here: the records that pages are drawn from. Does not belong here: their order (stages/reviewing_queues.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.stages.reviewing.states import BoxState


@dataclass(frozen=True, slots=True)
class ReviewBox:
    """One box of a frame as it stands after the verdicts in force."""

    class_name: str
    box: RelativeBox
    state: BoxState
    shown: ShownBox  # what an answer to this box is about; hand it back as it is
    num_agreeing_detectors: int | None = None  # None for a box that a person drew
    verdict: VerdictWord | None = None
    answer_id: str | None = None  # of that verdict; an answer that corrects it names it as `replaces`
    is_asked: bool = False  # this box is why the frame is shown


@dataclass(frozen=True, slots=True)
class ReviewFrame:
    """One frame with its boxes, objects first, then unsure ones, then those that a release leaves out."""

    frame_id: str
    place: FramePlace
    resolution_wh: tuple[int, int]
    image: PictureFile
    video_title: str
    video_url: str  # at the time of the frame; no link if it does not begin with http:// or https://
    boxes: tuple[ReviewBox, ...] = ()
    verdicts: Mapping[VerdictWord, str] | None = None  # KEEP, DROP, COMPLETE that are in force, with their answer ids


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One question. `other` is the representative of a duplicate; `similarity` and `tier` compare the two."""

    key: str  # unique in its queue; `Review.item` finds the same question again
    why: str  # one phrase
    frame: ReviewFrame
    other: ReviewFrame | None = None
    similarity: float | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some questions of a queue, in order."""

    queue: ReviewQueue
    items: tuple[ReviewItem, ...]
    num_open: int  # questions of the queue, with its filters, that nobody has answered
    next_cursor: str | None  # where the next page begins; None on the last one


@dataclass(frozen=True, slots=True)
class QueueCount:
    """How much a queue asks. `goal`: how many answers are enough; None: the more, the better."""

    queue: ReviewQueue
    num_open: int
    num_answered: int
    goal: int | None = None


@dataclass(frozen=True, slots=True)
class BrowsedName:
    """A class or a video that can be looked through, and how many frames that shows."""

    name: str  # of the class; the key of the video
    title: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page sends back.

    `frame_id` and `pts_seconds` are those of the item's frame, `other_frame_id` is that of its other frame.
    """

    answer_id: str  # chosen by the page, so that an answer sent twice is stored once
    word: VerdictWord
    queue: ReviewQueue
    frame_id: str
    pts_seconds: float
    shown: ShownBox | None = None  # `ReviewBox.shown`; for MISSING, the class and the box that were drawn
    new_class_name: str | None = None
    new_box: RelativeBox | None = None
    other_frame_id: str | None = None
    replaces: str | None = None
