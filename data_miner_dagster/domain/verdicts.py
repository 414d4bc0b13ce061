"""People's verdicts on boxes, frames and duplicates: the words and the records.

A verdict belongs to a time in a video, never to a file or row that a later run recreates. Boxes are stored as shares of
the picture's width and height, so they stay valid when frames are extracted at another size.

Belongs here: the records. Does not belong here: storing them (catalog/verdicts.py), or acting on them (stages/).
"""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of

SAME_FRAME_SECONDS: Final = 0.0005
"""Times that differ by less than this mean the same frame, since other tools round them to milliseconds."""

RelativeBox = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max as shares of the picture's width and height, each from 0 to 1."""

SAME_BOX_IOU: Final = 0.5
"""The lowest IoU at which a verdict on a box applies to another box of the same class."""


class VerdictWord(StrEnum):
    """A verdict that a person can give on a box, a frame or a pair of frames. Values are stored."""

    # about a box that was shown
    RIGHT = "right"
    WRONG = "wrong"
    OTHER_CLASS = "other_class"
    SHIFTED = "shifted"
    # about a box that a person drew
    MISSING = "missing"
    # about a frame
    KEEP = "keep"
    DROP = "drop"
    COMPLETE = "complete"  # after the verdicts on its boxes, every object of the classes has a box
    # about two frames
    DUPLICATE = "duplicate"  # confirms the decision; it changes nothing, but the question is not asked again
    NOT_DUPLICATE = "not_duplicate"
    REPRESENTATIVE = "representative"  # this frame is to represent the group instead of the other frame


BOX_WORDS: Final = frozenset(
    {VerdictWord.RIGHT, VerdictWord.WRONG, VerdictWord.OTHER_CLASS, VerdictWord.SHIFTED, VerdictWord.MISSING}
)
FRAME_WORDS: Final = frozenset({VerdictWord.KEEP, VerdictWord.DROP})
PAIR_WORDS: Final = frozenset({VerdictWord.DUPLICATE, VerdictWord.NOT_DUPLICATE, VerdictWord.REPRESENTATIVE})


class ReviewQueue(StrEnum):
    """The queue that a question came from. Only answers to a random sample measure a share of all frames."""

    STUDENT = "student"  # a network that was trained on the release disagrees with its labels
    UNSURE = "unsure"
    DISAGREEMENT = "disagreement"
    NEAR_THRESHOLD = "near_threshold"
    RANDOM = "random"
    CALIBRATION = "calibration"  # a random sample of frames, from strata of similarity
    FILTER = "filter"
    DUPLICATES = "duplicates"
    BROWSING = "browsing"  # the person opened a class or a video by name
    IMPORTED = "imported"  # returned from another tool


@dataclass(frozen=True, slots=True, order=True)
class FramePlace:
    """A time in a video."""

    video_key: str
    pts_seconds: float


@dataclass(frozen=True, slots=True)
class ShownBox:
    """The box that a person saw or drew. Detector, revision and confidence are None for a drawn box."""

    class_name: str
    box: RelativeBox
    detector: str | None = None
    revision: str | None = None  # the fingerprint of detector and class list
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer by one person. It never changes, but it can be undone or replaced by a later answer.

    Raises:
        ConfigError: a field that the word requires is missing, a field that it does not allow is set, or a box is
            not valid.
    """

    answer_id: str  # chosen by the client; an answer that is sent twice is stored once
    word: VerdictWord
    place: FramePlace
    frame_id: str  # the id of the frame that was shown
    queue: ReviewQueue
    who: str  # the person
    given_at: datetime
    shown: ShownBox | None = None  # the judged box; for MISSING, the drawn box
    new_class_name: str | None = None  # for OTHER_CLASS
    new_box: RelativeBox | None = None  # for SHIFTED
    other_place: FramePlace | None = None  # the second frame of a pair
    other_frame_id: str | None = None
    replaces: str | None = None  # the answer that the person saw and corrected

    def __post_init__(self) -> None:
        """Check that exactly the parts that the word requires are present, and that the boxes are valid."""
        if (self.shown is not None) is not (self.word in BOX_WORDS):
            raise self._error("needs a box" if self.word in BOX_WORDS else "cannot have a box; remove it")
        if (self.new_class_name is not None) is not (self.word is VerdictWord.OTHER_CLASS):
            is_needed = self.word is VerdictWord.OTHER_CLASS
            raise self._error("needs a new class name" if is_needed else "cannot have a new class name; remove it")
        if (self.new_box is not None) is not (self.word is VerdictWord.SHIFTED):
            raise self._error(
                "needs a new box" if self.word is VerdictWord.SHIFTED else "cannot have a new box; remove it"
            )
        if (self.other_place is not None) is not (self.word in PAIR_WORDS):
            raise self._error(
                "needs a second frame" if self.word in PAIR_WORDS else "cannot have a second frame; remove it"
            )
        for box in (self.shown.box if self.shown else None, self.new_box):
            if box is not None and not _is_box(box):
                raise self._error(
                    f"has the box {box}, which is not four shares from 0 to 1 with x_min < x_max and y_min < y_max"
                )

    @property
    def subject(self) -> str:
        """The identifier of the verdict's subject. Only the last verdict on a subject counts."""
        content: dict[str, object] = {"video": self.place.video_key, "pts_seconds": self.place.pts_seconds}
        if self.shown is not None:
            content |= {"class": self.shown.class_name, "box": [round(value, 6) for value in self.shown.box]}
        elif self.other_place is not None and self.word is not VerdictWord.REPRESENTATIVE:
            pair = sorted([self.place, self.other_place])
            content = {"pair": [[place.video_key, place.pts_seconds] for place in pair]}
        elif self.word in FRAME_WORDS:
            content |= {"frame": True}
        else:
            content |= {"word": self.word.value}
        return fingerprint_of(content)

    @property
    def final_class_name(self) -> str | None:
        """The class of the box after the verdict, or None if there is no box or the verdict removes it."""
        return (
            None
            if self.shown is None or self.word is VerdictWord.WRONG
            else self.new_class_name or self.shown.class_name
        )

    @property
    def final_box(self) -> RelativeBox | None:
        """The box after the verdict, or None if there is no box or the verdict removes it."""
        return None if self.shown is None or self.word is VerdictWord.WRONG else self.new_box or self.shown.box

    def _error(self, why: str) -> ConfigError:
        return ConfigError(f"the verdict {self.word.value!r} on {self.frame_id} {why}")


def _is_box(box: RelativeBox) -> bool:
    x_min, y_min, x_max, y_max = box
    return all(map(math.isfinite, box)) and 0 <= x_min < x_max <= 1 and 0 <= y_min < y_max <= 1
