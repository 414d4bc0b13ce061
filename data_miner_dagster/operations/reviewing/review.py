"""The review of one project: its queues, a page at a time, and the answers.

Everything here may be called from several threads; one at a time works.
"""

import threading
from collections.abc import Sequence
from typing import Final

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.cursors import Cursor
from data_miner_dagster.operations.reviewing.frames import code_and_box, rows_of_codes
from data_miner_dagster.operations.reviewing.index import (
    ReviewIndex,
    build_index,
    positions_of_class,
    table_marks,
)
from data_miner_dagster.operations.reviewing.items import ItemMaker
from data_miner_dagster.operations.reviewing.records import Page, QueueCount, ReviewItem
from data_miner_dagster.stages.reviewing_queues import (
    Ranking,
    rank_disagreement,
    rank_random,
    rank_unsure,
)

MAX_PAGE_SIZE: Final = 1000
QUEUES: Final = (
    ReviewQueue.UNSURE,
    ReviewQueue.DISAGREEMENT,
    ReviewQueue.NEAR_THRESHOLD,
    ReviewQueue.RANDOM,
    ReviewQueue.FILTER,
    ReviewQueue.DUPLICATES,
)
"""The queues that ask by themselves, in the order in which they help most."""


def open_review(platform: Platform, project: str) -> "Review":
    """Return the review of a project. Tables are read when the first page is asked for.

    Raises:
        ConfigError: there is no such project.
    """
    platform.project_config(project)
    return Review(platform, project)


class Review:
    """What is asked of people about one project, and what they answer."""

    def __init__(self, platform: Platform, project: str) -> None:
        self._platform = platform
        self._project = project
        self._lock = threading.RLock()
        self._marks: tuple[object, ...] | None = None
        self._items: ItemMaker | None = None

    def queues(self) -> tuple[QueueCount, ...]:
        """Return how much each queue asks."""
        with self._lock:
            index = self._current().index
            return tuple(QueueCount(queue, len(self._ranking(index, queue).rows), 0) for queue in QUEUES)

    def page(
        self,
        queue: ReviewQueue,
        *,
        cursor: str | None = None,
        size: int = 20,
        class_name: str | None = None,
        video_key: str | None = None,
    ) -> Page:
        """Return the next questions of a queue, in the order of asking.

        Args:
            queue: which one. BROWSING needs a class or a video.
            cursor: `next_cursor` of the page before; None for the first page.
            size: how many questions, at most `MAX_PAGE_SIZE`.
            class_name: only frames with a box of this class.
            video_key: only frames of this video.

        Raises:
            ConfigError: there is no such queue, class or video, or `cursor` is not one.
        """
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise ConfigError(f"a page of {size} questions is not between 1 and {MAX_PAGE_SIZE}")
        with self._lock:
            items = self._current()
            ranking = self._ranking(items.index, queue)
            if class_name is not None:
                ranking = _of_class(items.index, queue, ranking, class_name)
            if video_key is not None:
                ranking = _of_video(items.index, ranking, video_key)
            order = ranking.order()
            if cursor is not None:
                order = order[_is_after(items.index, ranking, Cursor.decoded(cursor))[order]]
            return _page(items, queue, ranking, order.tolist(), size)

    def _current(self) -> ItemMaker:
        """Return what can be asked, read again if a table has changed."""
        config = self._platform.project_config(self._project)
        marks = (*table_marks(self._platform, self._project), config.model_dump_json())
        if self._items is None or marks != self._marks:
            self._items = ItemMaker(self._platform, build_index(self._platform, self._project, config))
            self._marks = marks
        return self._items

    @staticmethod
    def _ranking(index: ReviewIndex, queue: ReviewQueue) -> Ranking:
        match queue:
            case ReviewQueue.UNSURE:
                return rank_unsure(index.facts, index.rows)
            case ReviewQueue.DISAGREEMENT:
                return rank_disagreement(index.facts, index.rows)
            case ReviewQueue.NEAR_THRESHOLD:
                return index.near_threshold
            case ReviewQueue.RANDOM:
                return rank_random(index.numbers, index.rows)
            case ReviewQueue.FILTER:
                return index.filter
            case ReviewQueue.DUPLICATES:
                return index.duplicates
            case _:
                raise ConfigError(f"{queue.value!r} is no queue that asks")


def _of_video(index: ReviewIndex, ranking: Ranking, video_key: str) -> Ranking:
    first, end = (int(row) for row in rows_of_codes(np.array(index.codes.of_video(video_key))))
    if first == end:
        raise ConfigError(f"{video_key!r} is no video with frames in this project")
    return ranking.where((ranking.rows >= first) & (ranking.rows < end))


def _of_class(index: ReviewIndex, queue: ReviewQueue, ranking: Ranking, class_name: str) -> Ranking:
    classes = list(index.config.detection.classes)
    if class_name not in classes:
        raise ConfigError(f"{class_name!r} is no class of this project; its classes: {', '.join(classes)}")
    class_index = classes.index(class_name)
    if queue is ReviewQueue.NEAR_THRESHOLD:
        return ranking.where(ranking.keys[1] == class_index)
    return ranking.where(np.isin(ranking.rows, index.rows[positions_of_class(index, class_index)]))


def _is_after(index: ReviewIndex, ranking: Ranking, cursor: Cursor) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    code = index.codes.of_frame(cursor.frame_id)
    if code is None or len(cursor.keys) != len(ranking.keys):
        raise ConfigError("the page before is of another queue, or of a video that is gone; begin at the first page")
    return ranking.is_after(cursor.keys, int(rows_of_codes(np.array(code), cursor.box)))


def _page(items: ItemMaker, queue: ReviewQueue, ranking: Ranking, order: Sequence[int], size: int) -> Page:
    found: list[ReviewItem] = []
    used = 0
    for position in order:
        used += 1
        row = int(ranking.rows[position])
        item = items.item(queue, row)
        if item is not None:
            found.append(item)
        if len(found) == size:
            break
    next_cursor = None
    if used < len(order):
        last = order[used - 1]
        code, box = code_and_box(int(ranking.rows[last]))
        keys = tuple(float(values[last]) for values in ranking.keys)
        next_cursor = Cursor(keys, items.index.codes.frame_id(code), box).encoded()
    return Page(queue, tuple(found), len(ranking.rows), next_cursor)
