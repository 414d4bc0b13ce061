"""Query remaining and recently finished work on videos, for estimating the remaining time.

Does not belong here: estimating the time (stages/remaining.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import Select, Table, and_, func, literal, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import ClaimRow, ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.work_tables import MeasurementRow, PendingWorkRow, RunLeaseRow
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage

_SPENT: Final = cast("Table", MeasurementRow.__table__)
_WINDOW: Final = timedelta(days=1)
_GAP: Final = timedelta(minutes=5)
"""Work from before a pause of this length is not counted as recent."""
_MOST_ROWS: Final = 20_000
_FEW: Final = 200


@dataclass(frozen=True, slots=True)
class LeftVideo:
    """A video, and the stage that it needs next."""

    video_key: str
    stage: WorkStage
    duration_seconds: float | None
    origin: Origin
    url: str
    claimed_at: datetime | None
    """When the current work on the video began, or None if no work is in progress."""


@dataclass(frozen=True, slots=True)
class WorkedVideo:
    """The resources that a stage used for a video in one run."""

    video_key: str
    stage: WorkStage
    duration_seconds: float | None
    origin: Origin
    url: str
    wall_seconds: float
    cpu_seconds: float
    is_failed: bool
    measured_at: datetime
    run_id: str
    model_seconds: float
    """The part of `wall_seconds` that embedding spent in the model, excluding the time to load it."""

    @property
    def began_at(self) -> datetime:
        """The time at which the work began, if it was not interrupted."""
        return self.measured_at - timedelta(seconds=self.wall_seconds)


def projects_with_work(session: Session, now: datetime) -> set[str]:
    """Return the names of the projects that have videos due at any stage."""
    return set(session.scalars(select(PendingWorkRow.project_name).where(PendingWorkRow.due_at <= now).distinct()))


def left_videos(session: Session, project: str | None, now: datetime, limit: int) -> tuple[list[LeftVideo], int]:
    """Return up to `limit` videos that are due at any stage, longest due first, and the number of all due videos.

    With `project`, only its videos count.
    """
    is_due = PendingWorkRow.due_at <= now
    if project is not None:
        is_due = and_(is_due, PendingWorkRow.project_name == project)
    # The limit comes before the joins, which would otherwise be executed for each of 100,000 videos.
    columns = (PendingWorkRow.video_key, PendingWorkRow.stage, PendingWorkRow.due_at)
    due = select(*columns).where(is_due).order_by(PendingWorkRow.due_at, PendingWorkRow.video_key).limit(limit)
    first = due.subquery()
    claim = and_(ClaimRow.resource == literal("video/") + VideoRow.key, ClaimRow.expires_at > now)
    facts = (VideoRow.duration_seconds, VideoRow.origin, VideoRow.url)
    query = (
        select(VideoRow.key, first.c.stage, *facts, ClaimRow.claimed_at)
        .join(first, first.c.video_key == VideoRow.key)
        .outerjoin(ClaimRow, claim)
        .order_by(first.c.due_at, VideoRow.key)
    )
    counting = select(func.count(PendingWorkRow.video_key.distinct())).where(is_due)
    found = {row[0]: LeftVideo(*row) for row in session.execute(query)}  # once, even if several projects want it
    return list(found.values()), session.scalar(counting) or 0


def work_of_this_run(session: Session, project: str | None, now: datetime) -> list[WorkedVideo]:
    """Return the work done on videos since work last paused for five minutes, newest first.

    Only videos of `project` count, or all videos if it is None. At most 20,000 results from the last day are read.
    """
    query = _worked(project).where(_SPENT.c.measured_at > now - _WINDOW).limit(_MOST_ROWS)
    worked: list[WorkedVideo] = []
    began_at = now
    for row in session.execute(query):
        video = WorkedVideo(*row)
        if video.measured_at < began_at - _GAP:
            break
        began_at = min(began_at, video.began_at)
        worked.append(video)
    return worked


def work_before(session: Session, stage: WorkStage) -> list[WorkedVideo]:
    """Return the last 200 results of a video stage, newest first, from any run and project."""
    return [WorkedVideo(*row) for row in session.execute(_worked(None).where(_SPENT.c.stage == stage).limit(_FEW))]


def without_loading(worked: Sequence[WorkedVideo]) -> list[WorkedVideo]:
    """Return `worked`, which is sorted newest first, without the time that each run took to load its encoder.

    That time is charged to the first video that a run embeds. For this video, only the time in the model is kept.
    """
    first = {
        video.run_id: video.video_key for video in worked if video.stage is WorkStage.EMBEDDING
    }  # the oldest video of each run remains
    return [
        _in_model(video) if video.stage is WorkStage.EMBEDDING and first[video.run_id] == video.video_key else video
        for video in worked
    ]


def _in_model(video: WorkedVideo) -> WorkedVideo:
    if not 0 < video.model_seconds < video.wall_seconds:
        return video
    share = video.model_seconds / video.wall_seconds
    return replace(video, wall_seconds=video.model_seconds, cpu_seconds=video.cpu_seconds * share)


def _worked(project: str | None) -> Select[Any]:
    facts = (VideoRow.duration_seconds, VideoRow.origin, VideoRow.url)
    is_failed = _SPENT.c.num_failed >= _SPENT.c.num_items
    of_run = (_SPENT.c.run_id, _SPENT.c.floor_seconds)
    spent = (_SPENT.c.wall_seconds, _SPENT.c.cpu_seconds, is_failed, _SPENT.c.measured_at, *of_run)
    query = (
        select(VideoRow.key, _SPENT.c.stage, *facts, *spent)
        .join(_SPENT, _SPENT.c.subject == VideoRow.key)
        .where(_SPENT.c.stage.in_(VIDEO_STAGES))
        .order_by(_SPENT.c.measured_at.desc())
    )
    if project is not None:
        members = select(ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == project)
        query = query.where(VideoRow.key.in_(members))
    return query


def seconds_a_frame(session: Session) -> dict[WorkStage, float]:
    """Return the seconds that each project stage has taken per frame that filtering examined, over all projects.

    The dict is empty if filtering has not examined a frame yet.
    """
    sums = select(_SPENT.c.stage, func.sum(_SPENT.c.wall_seconds), func.sum(_SPENT.c.num_frames))
    rows = session.execute(sums.where(_SPENT.c.stage.not_in(VIDEO_STAGES)).group_by(_SPENT.c.stage)).all()
    num_filtered = next((number for stage, _, number in rows if stage is WorkStage.FILTERING), 0)
    return {stage: float(wall) / num_filtered for stage, wall, _ in rows} if num_filtered else {}


def expected_frames(session: Session, project: str) -> float:
    """Return the expected number of frames in the videos that a project wants.

    Unknown numbers are extrapolated from the videos' durations, or count as 0 if no video's number is known.
    """
    rows: Sequence[tuple[float | None, int | None]] = [
        (row[0], row[1])
        for row in session.execute(
            select(VideoRow.duration_seconds, VideoRow.num_frames)
            .join(ProjectVideoRow, ProjectVideoRow.video_key == VideoRow.key)
            .where(ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
        )
    ]
    known = [(seconds, number) for seconds, number in rows if seconds and number is not None]
    rate = sum(number for _, number in known) / sum(seconds for seconds, _ in known) if known else 0.0
    return sum(number if number is not None else rate * (seconds or 0.0) for seconds, number in rows)


def runs_at_work(session: Session, now: datetime) -> list[RunLeaseRow]:
    """Return the unexpired leases of runs that have reported their amount of work, in order of start time."""
    query = select(RunLeaseRow).where(RunLeaseRow.expires_at > now, RunLeaseRow.num_total > 0)
    return list(session.scalars(query.order_by(RunLeaseRow.started_at)))
