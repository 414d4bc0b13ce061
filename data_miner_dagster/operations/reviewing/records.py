"""Define the records of the questions that review pages show, and of the answers that the pages send.

Does not belong here: ordering questions (stages/reviewing_queues.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.stages.reviewing.states import BoxState


@dataclass(frozen=True, slots=True)
class ReviewBox:
    """One box on a frame, with the verdicts in force applied."""

    class_name: str
    box: RelativeBox
    state: BoxState
    shown: ShownBox  # identifies this box in an answer (`Answer.shown`), which contains it unchanged
    num_agreeing_detectors: int | None = None  # None for a box that a person drew
    verdict: VerdictWord | None = None  # None if the box has no verdict
    answer_id: str | None = None  # the id of that verdict; a correction sends it as `replaces`
    is_asked: bool = False  # True if the frame is shown because of this box


@dataclass(frozen=True, slots=True)
class ReviewFrame:
    """One frame with its boxes: first the objects, then the unsure boxes, then the boxes that count as neither."""

    frame_id: str
    place: FramePlace
    resolution_wh: tuple[int, int]
    image: PictureFile
    video_title: str
    video_url: str  # points to the time of the frame; a link only if it begins with http:// or https://
    boxes: tuple[ReviewBox, ...] = ()
    # The KEEP, DROP and COMPLETE verdicts in force, with their answer ids.
    verdicts: Mapping[VerdictWord, str] | None = None


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One question about a frame, or about a duplicate (`frame`) and its representative (`other`).

    `similarity` and `tier` describe the duplicate. They and `other` are None for questions about one frame.
    """

    key: str  # unique within the queue; `Review.item` accepts it
    why: str  # the reason for asking, in one phrase
    frame: ReviewFrame
    other: ReviewFrame | None = None
    similarity: float | None = None
    tier: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a queue: consecutive open questions, or frames to browse."""

    queue: ReviewQueue
    items: tuple[ReviewItem, ...]
    num_open: int  # open questions that match the filters, on any page; at most those that the index holds
    next_cursor: str | None  # the start of the next page, or None on the last page


@dataclass(frozen=True, slots=True)
class QueueCount:
    """The counts of a queue's open and answered questions.

    `goal` is the number of answers that suffices, or None if there is no such number.
    """

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
    """An answer, as a review page sends it.

    `frame_id` and `pts_seconds` identify `ReviewItem.frame`, and `other_frame_id` identifies `ReviewItem.other`.
    """

    answer_id: str  # chosen by the page; an answer that is sent twice is stored once
    word: VerdictWord
    queue: ReviewQueue
    frame_id: str
    pts_seconds: float
    shown: ShownBox | None = None  # `ReviewBox.shown` of the judged box; for MISSING, the drawn box and its class
    new_class_name: str | None = None  # the corrected class, or None if the class stays
    new_box: RelativeBox | None = None  # the corrected box, or None if the box stays
    other_frame_id: str | None = None  # None for questions about one frame
    replaces: str | None = None  # the id of the answer that this one corrects, or None
