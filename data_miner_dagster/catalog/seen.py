"""Sums over the videos and releases that a root already has, for forecasting the cost of new videos."""

from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.measurements import spent_by_stage_in
from data_miner_dagster.catalog.schema import ProjectVideoRow, ReleaseRow, VideoRow
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage

_CONSIDERED: Final = (ProjectVideoStatus.FILTERED, ProjectVideoStatus.FILTERED_EMPTY)


@dataclass(frozen=True, slots=True)
class Seen:
    """Sums over the videos and latest releases of a root or project."""

    num_videos: int  # videos with a known duration
    seconds: float  # the total duration of these videos
    num_files: int  # videos with a known duration and file size
    file_bytes: int
    file_seconds: float  # the total duration of the videos in `num_files`
    num_extracted: int  # EXTRACTED videos with a known duration
    num_frames: int
    frame_seconds: float  # the total duration of the videos in `num_extracted`
    measured_frames: int  # frames with a known size in bytes
    frames_bytes: int
    num_downloads: int  # successful ones
    num_requests: int  # requests for all downloads, including failed ones
    num_releases: int  # the latest release of each project
    released_from_frames: int  # frames of the filtered videos of the same projects
    num_images: int
    num_boxes: int


def seen(database: Database, project: str | None = None) -> Seen:
    """Return the sums over the videos and latest release of `project`, or over the whole root if it is None.

    The project's rejected videos are included, and withdrawn releases are ignored.
    """
    with database.reading() as session:
        spent = spent_by_stage_in(session, project).get(WorkStage.DOWNLOADING)
        videos = [value or 0 for value in session.execute(_videos(project)).one()]
        downloads = (spent.num_items - spent.num_failed, spent.num_requests) if spent else (0, 0)
        sums: list[Any] = [*videos, *downloads, *_released(session, project)]
        return Seen(*sums)


def _videos(project: str | None) -> Select[tuple[Any, ...]]:
    seconds = case((VideoRow.duration_seconds > 0, VideoRow.duration_seconds))
    has_file = VideoRow.size_bytes.is_not(None) & (VideoRow.duration_seconds > 0)
    is_extracted = (
        (VideoRow.status == VideoStatus.EXTRACTED) & VideoRow.num_frames.is_not(None) & (VideoRow.duration_seconds > 0)
    )
    is_measured = is_extracted & VideoRow.frames_bytes.is_not(None)
    sums = (
        func.count(seconds),
        func.sum(seconds),
        func.count(case((has_file, 1))),
        func.sum(case((has_file, VideoRow.size_bytes))),
        func.sum(case((has_file, VideoRow.duration_seconds))),
        func.count(case((is_extracted, 1))),
        func.sum(case((is_extracted, VideoRow.num_frames))),
        func.sum(case((is_extracted, VideoRow.duration_seconds))),
        func.sum(case((is_measured, VideoRow.num_frames))),
        func.sum(case((is_measured, VideoRow.frames_bytes))),
    )
    query = cast("Select[tuple[Any, ...]]", select(*sums))
    if project is None:
        return query
    members = select(ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == project)
    return query.where(VideoRow.key.in_(members))


def _released(session: Session, project: str | None) -> tuple[int, int, int, int]:
    """Return the numbers of releases, source frames, images and boxes.

    They cover each project's latest release that has not been withdrawn. With `project`, only that project counts.
    """
    latest = select(func.max(ReleaseRow.id)).where(ReleaseRow.withdrawn_reason.is_(None))
    if project is not None:
        latest = latest.where(ReleaseRow.project_name == project)
    rows = session.execute(
        select(ReleaseRow.project_name, ReleaseRow.num_images, ReleaseRow.num_boxes).where(
            ReleaseRow.id.in_(latest.group_by(ReleaseRow.project_name))
        )
    ).all()
    frames = select(func.sum(VideoRow.num_frames)).join(ProjectVideoRow, ProjectVideoRow.video_key == VideoRow.key)
    num_frames = session.scalar(
        frames.where(
            ProjectVideoRow.project_name.in_([row.project_name for row in rows]),
            ProjectVideoRow.status.in_(_CONSIDERED),
        )
    )
    return len(rows), int(num_frames or 0), sum(row.num_images for row in rows), sum(row.num_boxes for row in rows)
