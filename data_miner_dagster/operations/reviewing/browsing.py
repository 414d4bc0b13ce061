"""Browse the frames of a class or a video, whether or not questions about them are open."""

import numpy as np

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.frames import rows_of_codes
from data_miner_dagster.operations.reviewing.index import ReviewIndex, distances_of_class
from data_miner_dagster.operations.reviewing.ranking import QueueFilter, class_index_of, rows_of_video
from data_miner_dagster.operations.reviewing.records import BrowsedName
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.operations.reviewing.standing import Standing
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster.stages.reviewing_queues import Ranking


def browsed_classes(index: ReviewIndex) -> tuple[BrowsedName, ...]:
    """Return the classes in the order of the project, each with its number of frames.

    A frame counts for a class if one of its detected boxes is an object or an unsure box of the class.
    """
    names = list(index.config.detection.classes)
    return tuple(
        BrowsedName(name, name, len(distances_of_class(index, class_index)[0]))
        for class_index, name in enumerate(names)
    )


def browsed_videos(platform: Platform, index: ReviewIndex) -> tuple[BrowsedName, ...]:
    """Return the videos that the review's tables contain, each with its number of extracted frames."""
    return tuple(
        BrowsedName(video.key, video.title or video.key, video.num_frames or 0)
        for video in find_videos(platform.database, index.codes.video_keys)
    )


def rank_browsed(index: ReviewIndex, standing: Standing, frames: ShownFrames, wanted: QueueFilter) -> Ranking:
    """Rank the frames of a class or of a video.

    The frames of a class are ranked by the distance of their nearest box from the class's threshold, smallest first.
    Frames with people's verdicts come last, and are included only if they still have a box of the class. If `wanted`
    also names a video, only that video's frames are included. If `wanted` names only a video, its frames are in order
    of time.

    Raises:
        ConfigError: neither a class nor a video is given, or the class or video does not exist.
    """
    if wanted.class_name is None and wanted.video_key is None:
        raise ConfigError("neither a class nor a video is given; choose at least one of them to browse")
    first, end = (0, np.iinfo(np.int64).max) if wanted.video_key is None else rows_of_video(index, wanted.video_key)
    if wanted.class_name is None:
        assert wanted.video_key is not None
        codes = np.array([index.codes.of_frame(frame_id) for frame_id in frames.ids_of(wanted.video_key)], np.int64)
        return Ranking(rows_of_codes(codes), (np.zeros(len(codes)),))
    class_index = class_index_of(index, wanted.class_name)
    positions, distances = distances_of_class(index, class_index)
    rows = index.rows[positions]
    judged = [code for code, frame in standing.judged.items()]
    unjudged = np.isin(rows, rows_of_codes(np.array(sorted(judged), np.int64)), invert=True)
    by_people = [
        code
        for code, frame in standing.judged.items()
        if any(box.class_index == class_index and box.state is not BoxState.NONE for box in frame.judgement.boxes)
    ]
    said = rows_of_codes(np.array(sorted(by_people), np.int64))
    # Frames that a person has judged come last.
    keys = np.concatenate([distances[unjudged], np.full(len(said), np.inf)])
    ranking = Ranking(np.concatenate([rows[unjudged], said]), (keys,))
    return ranking.where((ranking.rows >= first) & (ranking.rows < end))
