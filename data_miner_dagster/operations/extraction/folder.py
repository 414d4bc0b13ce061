"""Write a folder of frames from one video file: index the file, choose and decode targets, and write pictures.

Belongs here: the work of one process on one video. It uses neither the catalog nor claims, so it can run in a separate
process.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from functools import partial
from typing import Protocol

from av.video.stream import VideoStream

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.decoding import Int64Array, VideoIndex
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.meters import floor_of
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_targets, index_from_content
from data_miner_dagster.media.indexes import read_group_index, read_index
from data_miner_dagster.media.pictures import encode, picture_of
from data_miner_dagster.media.shots import measure_changes
from data_miner_dagster.operations.extraction.manifest import (
    Moment,
    check_num_frames,
    check_num_pixels,
    frame_folder_writer,
)
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.stages.extraction import (
    find_cuts,
    groups_to_read,
    plan_decoding,
    select_targets,
)


class IndexReader(Protocol):
    """A function that indexes a newly opened stream."""

    def __call__(self, stream: VideoStream, *, max_frames: int | None = None) -> VideoIndex | None:
        """Return the index, or None if the file has too little information for this reader.

        Raises:
            VideoPermanentError: the stream has more than `max_frames` frames.
        """


def index_readers(config: ExtractionConfig) -> Sequence[IndexReader]:
    """Return the index readers, cheapest first: they read some groups of packets, all packets, or all pictures.

    The strategy `scene` compares all pictures, so it has no reader of groups.
    """
    by_groups = partial(read_group_index, choose=partial(groups_to_read, config=config))
    return [*([] if config.strategy == "scene" else [by_groups]), read_index, index_from_content]


def make_frame_folder(job: FrameFolderJob) -> FrameFolderSummary:
    """Write the frames of a video and then their manifest, `frames.parquet`. Equal input gives equal bytes.

    The index readers are tried, cheapest first, until all targets chosen from an index can be decoded. With
    the last reader, targets that cannot be decoded are left out.

    Raises:
        VideoPermanentError: the file is unusable, has no decodable frame, or exceeds a limit.
    """
    for reader in index_readers(job.config):
        summary = _attempt(job, reader)
        if summary is not None and (summary.num_unmet == 0 or reader is index_from_content):
            return summary
        for leftover in job.folder.iterdir():
            leftover.unlink()
    raise VideoPermanentError(
        VideoErrorKind.UNDECODABLE,
        f"no frame of {job.video_path.name} could be decoded; replace the file, or convert it if a player can play it",
    )


def _opened(job: FrameFolderJob) -> AbstractContextManager[VideoStream]:
    return open_video(job.video_path, num_threads=job.num_threads, max_pixels=job.config.limits.max_pixels)


def _attempt(job: FrameFolderJob, reader: IndexReader) -> FrameFolderSummary | None:
    """Write the frames, using one reader's index. Return None if there is no index, or if the index has no frames."""
    with _opened(job) as stream:
        index = reader(stream, max_frames=job.config.limits.max_source_frames)
        if index is None or index.num_frames == 0:
            return None
        cut_pts = _find_cuts(job, index)
        # Opening costs as much as decoding a keyframe or two, so a stream that can be rewound is reused.
        if index.is_seekable:
            return _write_frames(job, index, cut_pts, stream)
    with _opened(job) as stream:
        return _write_frames(job, index, cut_pts, stream)


def _write_frames(
    job: FrameFolderJob, index: VideoIndex, cut_pts: Int64Array | None, stream: VideoStream
) -> FrameFolderSummary:
    targets = select_targets(index, job.config, cut_pts)
    check_num_frames(len(targets), job.config)
    tally = DecodeTally()
    aspect = Fraction(stream.sample_aspect_ratio) if stream.sample_aspect_ratio else None
    with frame_folder_writer(job.folder, job.video_key, job.fingerprint, job.config) as writer:
        for pts, frame in floor_of(decode_targets(stream, index, plan_decoding(index, targets), tally)):
            check_num_pixels(frame.width, frame.height, job.config)
            picture = picture_of(frame, sample_aspect_ratio=aspect)
            writer.add(
                encode(picture, job.config.image_format, job.config.jpeg_quality),
                job.config.image_format,
                picture.luma,
                Moment(pts, index.time_base, index.frame_number_of(pts), is_keyframe=bool(frame.key_frame)),
            )
    return FrameFolderSummary(
        num_frames=writer.num_frames,
        num_source_frames=index.num_frames,
        num_decoded=tally.num_decoded,
        num_unmet=len(targets) - writer.num_frames,
        num_decode_errors=tally.num_errors,
        size_bytes=writer.size_bytes,
        num_frames_by_flag=dict(writer.num_frames_by_flag),
    )


def _find_cuts(job: FrameFolderJob, index: VideoIndex) -> Int64Array | None:
    if job.config.strategy != "scene":
        return None
    with _opened(job) as stream:
        pts, changes = measure_changes(stream, index)
    return find_cuts(
        pts,
        changes,
        index.time_base,
        threshold=job.config.scene_threshold,
        min_scene_seconds=job.config.min_scene_seconds,
    )
