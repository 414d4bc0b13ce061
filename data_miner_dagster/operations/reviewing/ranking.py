"""Determine the open questions of each queue: the questions of the index that people have not answered."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.reviewing.cursors import Cursor
from data_miner_dagster.operations.reviewing.frames import rows_of_codes
from data_miner_dagster.operations.reviewing.index import ReviewIndex, positions_of_class
from data_miner_dagster.operations.reviewing.records import QueueCount
from data_miner_dagster.operations.reviewing.standing import Standing
from data_miner_dagster.stages.estimates import FEWEST_ANSWERS
from data_miner_dagster.stages.reviewing_queues import (
    BOXES_PER_CLASS,
    Ranking,
    rank_disagreement,
    rank_random,
    rank_unsure,
)

QUEUES: Final = (
    ReviewQueue.STUDENT,
    ReviewQueue.UNSURE,
    ReviewQueue.DISAGREEMENT,
    ReviewQueue.NEAR_THRESHOLD,
    ReviewQueue.RANDOM,
    ReviewQueue.CALIBRATION,
    ReviewQueue.FILTER,
    ReviewQueue.DUPLICATES,
)
"""The queues that are filled automatically, most useful first."""
RANDOM_FRAMES: Final = 200
"""The number of frames that suffices for the random sample.

The 95 % confidence interval for a share of 5 % is then 6 percentage points wide.
"""


NOTHING: Final = Ranking(np.zeros(0, np.int64), (np.zeros(0),))


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """A restriction of a queue to a class, to a video, or to both. A field that is None imposes no restriction."""

    class_name: str | None = None
    video_key: str | None = None


def ranking_of(index: ReviewIndex, standing: Standing, queue: ReviewQueue) -> Ranking:
    """Return the open questions of a queue that is filled automatically.

    Raises:
        ConfigError: the queue is not one of `QUEUES`.
    """
    match queue:
        case ReviewQueue.UNSURE:
            return rank_unsure(standing.facts, index.rows)
        case ReviewQueue.DISAGREEMENT:
            return rank_disagreement(standing.facts, index.rows)
        case ReviewQueue.STUDENT:
            ranking = index.student
        case ReviewQueue.NEAR_THRESHOLD:
            ranking = index.near_threshold
        case ReviewQueue.RANDOM:
            ranking = rank_random(index.numbers, index.rows)
        case ReviewQueue.CALIBRATION:
            ranking = NOTHING if standing.calibration is None else standing.calibration.ranking
        case ReviewQueue.FILTER:
            ranking = index.filter
        case ReviewQueue.DUPLICATES:
            ranking = index.duplicates
        case _:
            raise ConfigError(f"queue {queue.value!r} is not filled automatically; use one of {', '.join(QUEUES)}")
    return ranking.where(np.isin(ranking.rows, standing.settled[queue], invert=True))


def count_questions(index: ReviewIndex, standing: Standing, queue: ReviewQueue) -> QueueCount:
    """Return the counts of a queue's open and answered questions, and the number of answers that suffices, if any.

    Open questions that the index does not hold in memory are counted too.
    """
    num_open = len(ranking_of(index, standing, queue).rows)
    if queue is ReviewQueue.FILTER:
        num_open += index.num_filter - len(index.filter.rows)
    if queue is ReviewQueue.DUPLICATES:
        num_open += index.num_duplicates - len(index.duplicates.rows)
    goal = {
        ReviewQueue.NEAR_THRESHOLD: _goal_near_threshold(index),
        ReviewQueue.RANDOM: min(RANDOM_FRAMES, len(index.rows)),
        ReviewQueue.CALIBRATION: _goal_of_calibration(standing),
    }.get(queue)
    return QueueCount(queue, num_open, standing.num_answered.get(queue, 0), goal)


def _goal_of_calibration(standing: Standing) -> int:
    return 0 if standing.calibration is None else max(FEWEST_ANSWERS, len(standing.calibration.planned))


def _goal_near_threshold(index: ReviewIndex) -> int:
    classes = index.near_threshold.keys[1].astype(np.int64)
    return int(np.minimum(np.bincount(classes, minlength=1), BOXES_PER_CLASS).sum())


def filtered(index: ReviewIndex, queue: ReviewQueue, ranking: Ranking, wanted: QueueFilter) -> Ranking:
    """Return the questions of a queue that match a filter.

    A question about one box matches the class of the box. A question about a whole frame matches a class if one of the
    frame's detected boxes is an object or an unsure box of the class.

    Raises:
        ConfigError: the class does not exist, or the project has no frames of the video.
    """
    if wanted.class_name is not None:
        class_index = class_index_of(index, wanted.class_name)
        if queue is ReviewQueue.NEAR_THRESHOLD:
            ranking = ranking.where(ranking.keys[1] == class_index)
        else:
            ranking = ranking.where(np.isin(ranking.rows, index.rows[positions_of_class(index, class_index)]))
    if wanted.video_key is not None:
        first, end = rows_of_video(index, wanted.video_key)
        ranking = ranking.where((ranking.rows >= first) & (ranking.rows < end))
    return ranking


def class_index_of(index: ReviewIndex, class_name: str) -> int:
    """Return the index of a class in the class list.

    Raises:
        ConfigError: the project has no class with this name.
    """
    classes = list(index.config.detection.classes)
    if class_name not in classes:
        raise ConfigError(
            f"{class_name!r} is not a class of project {index.config.name!r}; use one of {', '.join(classes)}"
        )
    return classes.index(class_name)


def rows_of_video(index: ReviewIndex, video_key: str) -> tuple[int, int]:
    """Return the half-open range of the rows that belong to a video.

    Raises:
        ConfigError: the project has no frames of this video.
    """
    first, end = rows_of_codes(np.array(index.codes.of_video(video_key))).tolist()
    if first == end:
        raise ConfigError(
            f"project {index.config.name!r} has no frames of video {video_key!r}; "
            f"run `data-miner videos --project {index.config.name}` to list its videos"
        )
    return first, end


def is_after(index: ReviewIndex, ranking: Ranking, cursor: Cursor) -> npt.NDArray[np.bool_]:
    """Return a bool array that is True for the questions of `ranking` that come after a cursor.

    Raises:
        ConfigError: the cursor belongs to another queue, or its video is no longer in the project.
    """
    code = index.codes.of_frame(cursor.frame_id)
    if code is None or len(cursor.keys) != len(ranking.keys):
        raise ConfigError(
            f"cursor {cursor.encoded()} belongs to another queue, or to a video that the project no longer has; start "
            "again with the first page"
        )
    return ranking.is_after(cursor.keys, int(rows_of_codes(np.array(code), cursor.box)))


def row_of_key(index: ReviewIndex, queue: ReviewQueue, key: str) -> int:
    """Return the row of the question with this key.

    Raises:
        ConfigError: the key is invalid, its video is unknown, or the queue DUPLICATES has no pair with this duplicate.
    """
    frame_id, _, box = key.partition("#")
    try:
        code = index.codes.of_frame(frame_id)
        row = None if code is None else int(rows_of_codes(np.array(code), int(box or 0)))
    except ValueError:
        row = None
    if row is None or (queue is ReviewQueue.DUPLICATES and row not in index.pairs):
        raise ConfigError(f"queue {queue.value!r} has no question with the key {key!r}; reload the page")
    return row
