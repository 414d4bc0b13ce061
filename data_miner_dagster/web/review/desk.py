"""The interface between the pages and operations/reviewing, which provides a project's questions and stores answers."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from data_miner_dagster.catalog.verdicts import count_verdicts
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.masks import ShownMask, has_masks, masks_of_frame
from data_miner_dagster.operations.reviewing.records import Answer, BrowsedName, Page, QueueCount, ReviewItem
from data_miner_dagster.operations.reviewing.review import CalibrationState, open_review
from data_miner_dagster.operations.reviewing.verifier_answers import ShownAnswer, answers_of_frame, has_answers
from data_miner_dagster.stages.filtering.calibration import Goal

OpenDesk = Callable[[str], "Desk"]
"""A function that returns the desk of a named project. It raises ConfigError if the project does not exist."""

_MOST_DESKS: Final = 4


class Desk:
    """The questions and answers of one project. Thread-safe.

    Methods that read the project's tables raise a TransientError while the tables are being rewritten.
    """

    def __init__(self, platform: Platform, project: str) -> None:
        self._platform = platform
        self._project = project
        self._review = open_review(platform, project)

    @property
    def class_names(self) -> Sequence[str]:
        """The classes of the project, in the order of its project file."""
        return list(self._platform.project_config(self._project).detection.classes)

    def queues(self) -> Sequence[QueueCount]:
        """Return the counts of open and answered questions in each queue."""
        return self._review.queues()

    def page(
        self,
        queue: ReviewQueue,
        *,
        cursor: str | None = None,
        size: int = 20,
        class_name: str | None = None,
        video_key: str | None = None,
    ) -> Page:
        """Return up to `size` of a queue's questions, starting after `cursor`, which comes from the previous page.

        Without `cursor`, the first page is returned. With `class_name` or `video_key`, only questions about that class
        or video are returned.

        Raises:
            ConfigError: the queue, class or video does not exist, or `size` or `cursor` is invalid.
        """
        return self._review.page(queue, cursor=cursor, size=size, class_name=class_name, video_key=video_key)

    def item(self, queue: ReviewQueue, key: str) -> ReviewItem | None:
        """Return the current state of one question, or None if it does not exist."""
        return self._review.item(queue, key)

    def classes(self) -> Sequence[BrowsedName]:
        """Return the classes that can be browsed, each with its number of frames."""
        return self._review.classes()

    def videos(self) -> Sequence[BrowsedName]:
        """Return the videos that can be browsed, each with its number of frames."""
        return self._review.videos()

    def has_masks(self) -> bool:
        """Return whether any detected box of the project has a mask.

        Raises:
            DamagedFileError: the table of detections cannot be read.
        """
        return has_masks(self._platform, self._project)

    def masks(self, frame_id: str) -> Sequence[ShownMask]:
        """Return the masks of the boxes detected on a frame, most confident box first.

        Raises:
            DamagedFileError: the table of detections cannot be read.
        """
        return masks_of_frame(self._platform, self._project, frame_id)

    def has_verifier_answers(self) -> bool:
        """Return whether a verifier has examined any box of the project.

        Raises:
            DamagedFileError: the table of detections cannot be read.
        """
        return has_answers(self._platform, self._project)

    def verifier_answers(self, frame_id: str) -> Sequence[ShownAnswer]:
        """Return a verifier's answers about the boxes on a frame.

        Raises:
            DamagedFileError: the table of detections cannot be read.
        """
        return answers_of_frame(self._platform, self._project, frame_id)

    def answer(self, answers: Sequence[Answer], who: str) -> None:
        """Store answers one after another. Answers that are already stored stay unchanged.

        Raises:
            ConfigError: an answer is invalid. The answers before it are stored.
        """
        for answer in answers:
            self._review.give(answer, who=who)

    def undo(self, answer_id: str, who: str) -> bool:
        """Undo an answer. Return False if the project has no such answer, or it was already undone."""
        return self._review.undo(answer_id, who=who)

    def calibration(self, *, goal: Goal, wanted: float) -> CalibrationState:
        """Return the progress of the filter's calibration, with the threshold that follows from the answers.

        `wanted` is the precision or recall (`goal`) that the threshold must reach.

        Raises:
            ConfigError: `wanted` is not between 0 and 1.
        """
        return self._review.calibration(goal=goal, wanted=wanted)

    def why_nothing(self) -> str:
        """Return the reason why there are currently no calibration questions, or "" if there are any."""
        return self._review.why_nothing()

    def verdict_counts(self) -> Mapping[VerdictWord, int]:
        """Return the number of verdicts in force, by word."""
        return count_verdicts(self._platform.database, self._project)


def project_desks(platform: Platform) -> OpenDesk:
    """Return a function that opens desks, and caches the four most recently used ones."""
    desks: OrderedDict[str, Desk] = OrderedDict()
    lock = threading.Lock()

    def open_desk(project: str) -> Desk:
        with lock:
            desk = desks.get(project) or Desk(platform, project)
            desks[project] = desk
            desks.move_to_end(project)
            while len(desks) > _MOST_DESKS:
                desks.popitem(last=False)
            return desk

    return open_desk
