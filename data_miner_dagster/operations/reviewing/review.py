"""Serve the review of one project: the pages of its queues, and people's answers.

All methods are thread-safe. Calls that read the project's tables are serialized.
"""

import threading
from dataclasses import dataclass
from typing import Final

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.verdicts import undo_verdict, verdicts_in_force, verdicts_version
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, TransientError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.verdicts import FRAME_WORDS, ReviewQueue, Verdict
from data_miner_dagster.operations.filtering.calibration import CalibratedThreshold
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.answers import AnswerReader, store_answer
from data_miner_dagster.operations.reviewing.browsing import browsed_classes, browsed_videos, rank_browsed
from data_miner_dagster.operations.reviewing.calibrating import CalibrationKeeper
from data_miner_dagster.operations.reviewing.cursors import Cursor
from data_miner_dagster.operations.reviewing.frames import code_and_box
from data_miner_dagster.operations.reviewing.index import ReviewIndex, build_index, table_marks
from data_miner_dagster.operations.reviewing.items import ItemMaker
from data_miner_dagster.operations.reviewing.ranking import (
    QUEUES,
    QueueFilter,
    count_questions,
    filtered,
    is_after,
    ranking_of,
    row_of_key,
)
from data_miner_dagster.operations.reviewing.records import Answer, BrowsedName, Page, QueueCount, ReviewItem
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.operations.reviewing.standing import Standing, StandingKeeper
from data_miner_dagster.operations.reviewing.unmet import UnmetVerdict, unmet_verdicts
from data_miner_dagster.stages.filtering.calibration import Goal
from data_miner_dagster.stages.reviewing_queues import Int64Array, Ranking

MAX_PAGE_SIZE: Final = 1000
_MOST_READS: Final = 3
"""The number of attempts to read the tables if one of them disappears while it is being read."""


def open_review(platform: Platform, project: str) -> "Review":
    """Return the review of a project. The tables of the project are read when a method first needs them.

    Raises:
        ConfigError: the project does not exist.
    """
    platform.project_config(project)
    return Review(platform, project)


@dataclass(frozen=True, slots=True)
class CalibrationState:
    """The state of the filter's calibration: the computed threshold, or the reason why there are no questions.

    `found` is None if there are no questions; otherwise `why_none` is empty.
    """

    config: ProjectConfig
    found: CalibratedThreshold | None
    why_none: str


@dataclass(frozen=True, slots=True)
class _Tables:
    """All objects that are built from one state of the project's tables."""

    index: ReviewIndex
    frames: ShownFrames
    items: ItemMaker
    keeper: StandingKeeper


class Review:
    """The questions about one project, and people's answers.

    Methods that read the project's tables raise a TransientError while the tables are being rewritten.
    """

    def __init__(self, platform: Platform, project: str) -> None:
        self._platform = platform
        self._project = project
        self._lock = threading.RLock()
        self._marks: tuple[object, ...] | None = None
        self._tables: _Tables | None = None
        self._calibration = CalibrationKeeper(platform, project)
        self._standing: tuple[object, Standing] | None = None
        self._ranked: tuple[object, Ranking, Int64Array] | None = None

    def queues(self) -> tuple[QueueCount, ...]:
        """Return the counts of questions in each queue. The queue STUDENT is omitted if it has no questions at all."""
        with self._lock:
            tables, standing = self._current()
            counts = (count_questions(tables.index, standing, queue) for queue in QUEUES)
            has_student = bool(len(tables.index.student.rows))  # most projects have no student
            return tuple(count for count in counts if has_student or count.queue is not ReviewQueue.STUDENT)

    def classes(self) -> tuple[BrowsedName, ...]:
        """Return the classes that can be browsed, in the order of the project, each with its number of frames."""
        with self._lock:
            return browsed_classes(self._read_tables().index)

    def videos(self) -> tuple[BrowsedName, ...]:
        """Return the videos that can be browsed, each with its number of frames."""
        with self._lock:
            return browsed_videos(self._platform, self._read_tables().index)

    def page(
        self,
        queue: ReviewQueue,
        *,
        cursor: str | None = None,
        size: int = 20,
        class_name: str | None = None,
        video_key: str | None = None,
    ) -> Page:
        """Return a page of a queue's open questions, in order. Questions about frames that no longer exist are omitted.

        Args:
            queue: the queue. BROWSING requires a class or a video.
            cursor: `next_cursor` of the previous page, or None for the first page.
            size: the largest number of questions on the page, from 1 to `MAX_PAGE_SIZE`.
            class_name: the class to which the questions are restricted, or None for all classes.
            video_key: the video to which the questions are restricted, or None for all videos.

        Raises:
            ConfigError: the queue, class or video does not exist, BROWSING has neither a class nor a video, or `size`
                or `cursor` is invalid.
            TransientError: the tables are being rewritten.
        """
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise ConfigError(f"a page cannot have {counted(size, 'question')}; request 1 to {MAX_PAGE_SIZE} questions")
        with self._lock:
            tables, standing = self._current()
            ranking, order = self._in_order(tables, standing, queue, QueueFilter(class_name, video_key))
            if cursor is not None:
                order = order[is_after(tables.index, ranking, Cursor.decoded(cursor))[order]]
            return _page(tables, standing, queue, ranking, order, size)

    def item(self, queue: ReviewQueue, key: str) -> ReviewItem | None:
        """Return the current state of the question with this key, or None if one of its frames no longer exists.

        Raises:
            ConfigError: the queue has no question with this key.
        """
        with self._lock:
            tables, standing = self._current()
            return tables.items.item(queue, row_of_key(tables.index, queue, key), standing)

    def give(self, answer: Answer, *, who: str) -> Verdict:
        """Store an answer. Return the verdict stored under the answer's id, which an earlier call may have stored.

        The first answer in the queue CALIBRATION begins a round of calibration.

        Raises:
            ConfigError: the answer is invalid: for example, the project lacks its frame or class, or its box is outside
                the frame.
        """
        with self._lock:
            tables = self._read_tables()
            if answer.queue is ReviewQueue.CALIBRATION:
                self._calibration.begin(tables.index.config, tables.index.codes)
            reader = AnswerReader(self._project, tables.index, tables.frames)
            return store_answer(self._platform, self._project, reader, answer, who=who)

    def undo(self, answer_id: str, *, who: str) -> bool:
        """Undo an answer. The previous answer about the same subject is then in force again.

        Return True if the answer was undone, or False if its id is unknown or it was already undone.
        """
        return undo_verdict(self._platform.database, self._project, answer_id, who=who)

    def calibration(self, *, goal: Goal, wanted: float) -> CalibrationState:
        """Return the state of the filter's calibration, with the threshold computed from the answers.

        Args:
            goal: whether to reach a precision or a recall.
            wanted: the precision or recall to reach.

        Raises:
            ConfigError: `wanted` is not between 0 and 1.
        """
        with self._lock:
            tables, standing = self._current()
            questions = standing.calibration
            if questions is None:
                return CalibrationState(tables.index.config, None, self._calibration.why_none)
            verdicts = verdicts_in_force(self._platform.database, self._project, words=FRAME_WORDS)
            found = self._calibration.threshold(questions, verdicts, goal=goal, wanted=wanted)
            return CalibrationState(tables.index.config, found, "")

    def why_nothing(self) -> str:
        """Return the reason why there are currently no calibration questions, or "" if there are any."""
        with self._lock:
            _, standing = self._current()
            return self._calibration.why_none if standing.calibration is None else ""

    def unmet(self) -> tuple[UnmetVerdict, ...]:
        """Return the verdicts in force that currently match nothing in the project, each with the reason."""
        with self._lock:
            tables, standing = self._current()
            verdicts = verdicts_in_force(self._platform.database, self._project)
            return unmet_verdicts(tables.index, tables.frames, standing, verdicts)

    def _read_tables(self) -> _Tables:
        """Return the objects built from the project's tables. They are rebuilt if a table or a setting has changed.

        Raises:
            TransientError: the tables are being rewritten.
        """
        for _ in range(_MOST_READS):
            project = find_project(self._platform.database, self._project)
            marks = (*table_marks(self._platform, self._project), project.config_hash if project is not None else None)
            if self._tables is not None and marks == self._marks:
                return self._tables
            config = self._platform.project_config(self._project)
            try:
                index = build_index(self._platform, self._project, config)
            except FileNotFoundError:  # a stage or a repair removed a table in the meantime
                continue
            frames = ShownFrames(self._platform, config.shown)
            items = ItemMaker(self._platform, self._project, index, frames)
            self._tables, self._marks = _Tables(index, frames, items, StandingKeeper(index, frames)), marks
            self._standing = self._ranked = None
            return self._tables
        raise TransientError(f"the tables of project {self._project!r} are being rewritten; try again later")

    def _current(self) -> tuple[_Tables, Standing]:
        """Return the objects built from the project's tables, and the standing. Both are updated if necessary."""
        tables = self._read_tables()
        version = verdicts_version(self._platform.database, self._project), self._calibration.mark
        if self._standing is None or self._standing[0] != version:
            verdicts = verdicts_in_force(self._platform.database, self._project)
            calibration = self._calibration.questions(tables.index.config, tables.index.codes)
            self._standing = version, tables.keeper.standing(verdicts, calibration)
            self._ranked = None
        return tables, self._standing[1]

    def _in_order(
        self, tables: _Tables, standing: Standing, queue: ReviewQueue, wanted: QueueFilter
    ) -> tuple[Ranking, Int64Array]:
        """Return the open questions of a queue that match a filter, and their positions in order. Both are cached."""
        if self._ranked is None or self._ranked[0] != (queue, wanted):
            if queue is ReviewQueue.BROWSING:
                ranking = rank_browsed(tables.index, standing, tables.frames, wanted)
            else:
                ranking = filtered(tables.index, queue, ranking_of(tables.index, standing, queue), wanted)
            self._ranked = (queue, wanted), ranking, ranking.order()
        return self._ranked[1:]


def _page(
    tables: _Tables, standing: Standing, queue: ReviewQueue, ranking: Ranking, order: Int64Array, size: int
) -> Page:
    found: list[ReviewItem] = []
    used = 0
    for position in map(int, order):
        used += 1
        item = tables.items.item(queue, int(ranking.rows[position]), standing)
        if item is not None:
            found.append(item)
        if len(found) == size:
            break
    next_cursor = None
    if used < len(order):
        last = int(order[used - 1])
        code, box = code_and_box(int(ranking.rows[last]))
        keys = tuple(float(values[last]) for values in ranking.keys)
        next_cursor = Cursor(keys, tables.index.codes.frame_id(code), box).encoded()
    return Page(queue, tuple(found), len(ranking.rows), next_cursor)
