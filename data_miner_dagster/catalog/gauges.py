"""Totals over the whole catalog that are cheap enough to be monitored every few seconds.

Belongs here: counts over whole tables. Does not belong here: the names of metrics (monitoring/), queries about single
items (counts.py, attempts.py), the cost of work (measurements.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy import Table, and_, case, func, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import DownloadStartRow, ProjectRow, ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.work_tables import BatchItemRow, HoldRow, PendingWorkRow, RunLeaseRow, WorkBatchRow
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage

_PENDING: Final = cast("Table", PendingWorkRow.__table__).c
_ITEMS: Final = cast("Table", BatchItemRow.__table__).c
_VIDEOS: Final = cast("Table", VideoRow.__table__).c
_MEMBERS: Final = cast("Table", ProjectVideoRow.__table__).c
_STARTS: Final = cast("Table", DownloadStartRow.__table__).c
_HAS_FAILED: Final = (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
_BUSIEST: Final = 20


@dataclass(frozen=True, slots=True)
class WaitingWork:
    """The numbers of items that are waiting for one stage, and when the first of them became ready."""

    num_due: int = 0  # items that are due, including held ones
    num_later: int = 0  # items that are waiting for the time of their next retry
    oldest_due: datetime | None = None  # when the item that has waited longest became ready, or None if none is due


def waiting_work(session: Session, now: datetime) -> dict[WorkStage, WaitingWork]:
    """Return the work waiting for each stage, in stage order: videos without a run, or projects between two stages."""
    is_free, is_due = _ITEMS.item.is_(None), _PENDING.due_at <= now
    since = case((_PENDING.due_at > _PENDING.since, _PENDING.due_at), else_=_PENDING.since)
    query = (
        select(
            _PENDING.stage,
            func.count(case((and_(is_free, is_due), _PENDING.video_key)).distinct()),
            func.count(case((and_(is_free, ~is_due), _PENDING.video_key)).distinct()),
            func.min(case((and_(is_free, is_due), since))),
        )
        .outerjoin_from(
            PendingWorkRow.__table__,
            BatchItemRow.__table__,
            and_(_ITEMS.stage == _PENDING.stage, _ITEMS.item == _PENDING.video_key),
        )
        .group_by(_PENDING.stage)
    )
    found = {stage: WaitingWork(*rest) for stage, *rest in session.execute(query)}
    of_projects = select(ProjectRow.stage, func.count(), func.min(ProjectRow.updated_at)).group_by(ProjectRow.stage)
    by_state = {state: (number, since) for state, number, since in session.execute(of_projects)}
    for stage, place in PROJECT_WAY.items():
        if place.waiting is not ProjectStage.SOURCING and place.waiting in by_state:  # SOURCING waits for videos
            number, since_when = by_state[place.waiting]
            found[WorkStage(stage.value)] = WaitingWork(number, 0, since_when)
    return {stage: found.get(stage, WaitingWork()) for stage in WorkStage}


def items_in_flight(session: Session) -> dict[WorkStage, int]:
    """Return the number of items in flight at each stage, in stage order."""
    rows = session.execute(select(_ITEMS.stage, func.count()).group_by(_ITEMS.stage))
    counts = {stage: int(number) for stage, number in rows}
    return {stage: counts.get(stage, 0) for stage in WorkStage}


def paused_stages(session: Session) -> set[WorkStage]:
    """Return the stages that a person has paused for all projects."""
    of_all = HoldRow.project.is_(None), HoldRow.video_key.is_(None)
    paused = set(session.scalars(select(HoldRow.stage).where(*of_all)))
    return set(WorkStage) if None in paused else {stage for stage in paused if stage is not None}


@dataclass(frozen=True, slots=True)
class VideoCounts:
    """The numbers of videos by status and reason, and the total sizes of their files in bytes."""

    by_status: Mapping[tuple[VideoStatus, str], int]
    failed_downloads: Mapping[str, int]  # failed and unavailable videos without a file on record, by reason
    source_bytes: int
    frames_bytes: int


def video_counts(session: Session) -> VideoCounts:
    """Return the numbers of all videos by status and reason, and the total sizes of their files in bytes."""
    was_there = _VIDEOS.sha256.is_not(None)
    rows = session.execute(
        select(
            _VIDEOS.status,
            _VIDEOS.error_kind,
            was_there,
            func.count(),
            func.coalesce(func.sum(_VIDEOS.stored_bytes), 0),
            func.coalesce(func.sum(_VIDEOS.frames_bytes), 0),
        ).group_by(_VIDEOS.status, _VIDEOS.error_kind, was_there)
    ).all()
    by_status: dict[tuple[VideoStatus, str], int] = {}
    failed: dict[str, int] = {}
    for status, kind, is_there, number, _, _ in rows:
        reason = kind.value if kind is not None else ""
        by_status[status, reason] = by_status.get((status, reason), 0) + number
        if status in _HAS_FAILED and not is_there:
            failed[reason] = failed.get(reason, 0) + number
    return VideoCounts(by_status, failed, sum(int(row[4]) for row in rows), sum(int(row[5]) for row in rows))


@dataclass(frozen=True, slots=True)
class StageCounts:
    """The numbers of a project's videos that are done, failed and pending at a stage."""

    done: int = 0
    failed: int = 0
    pending: int = 0


def project_counts(session: Session) -> dict[str, dict[WorkStage, StageCounts]]:
    """Return the counts of the videos that each project wants, by project name and video stage.

    A video counts at every stage up to the first one at which it has not succeeded.
    """
    was_there, is_embedded = _VIDEOS.sha256.is_not(None), _VIDEOS.embedding_basis.is_not(None)
    group = _MEMBERS.project_name, _VIDEOS.status, was_there, is_embedded
    # Start with videos, in an outer join, so that SQLite scans them once instead of looking one up for each membership.
    both = VideoRow.__table__.outerjoin(ProjectVideoRow.__table__, _MEMBERS.video_key == _VIDEOS.key)
    wanted = _MEMBERS.status != ProjectVideoStatus.REJECTED
    found: dict[str, dict[WorkStage, StageCounts]] = {}
    for project, status, is_there, has_vectors, number in session.execute(
        select(*group, func.count()).select_from(both).where(wanted).group_by(*group)
    ):
        counts = found.setdefault(project, {})
        for stage, state in _states_of(status, bool(is_there), bool(has_vectors)).items():
            before = counts.get(stage, StageCounts())
            counts[stage] = StageCounts(
                before.done + number * (state == "done"),
                before.failed + number * (state == "failed"),
                before.pending + number * (state == "pending"),
            )
    return found


def _states_of(status: VideoStatus, was_there: bool, is_embedded: bool) -> dict[WorkStage, str]:
    """Return a video's state (done, failed or pending) at each stage up to the first at which it has not succeeded."""
    if not was_there:
        return {WorkStage.DOWNLOADING: "failed" if status in _HAS_FAILED else "pending"}
    if status is not VideoStatus.EXTRACTED:
        return {WorkStage.DOWNLOADING: "done", WorkStage.EXTRACTION: "failed" if status in _HAS_FAILED else "pending"}
    embedded = "done" if is_embedded else "pending"
    return {WorkStage.DOWNLOADING: "done", WorkStage.EXTRACTION: "done", WorkStage.EMBEDDING: embedded}


def since_waiting_for_room(session: Session) -> tuple[int, datetime | None]:
    """Return the number of downloads waiting for disk space, and the earliest time at which any was last postponed.

    The time is None if no download is waiting.
    """
    waits = _VIDEOS.status == VideoStatus.PENDING, _VIDEOS.error_kind == VideoErrorKind.DISK_FULL
    number, since = session.execute(select(func.count(), func.min(_VIDEOS.updated_at)).where(*waits)).one()
    return int(number), since


def last_progress(session: Session) -> datetime | None:
    """Return when a run with a lease last made progress or a batch last ended, or None if neither has happened yet."""
    at_work = session.scalar(select(func.max(RunLeaseRow.progress_at)))
    ended = session.scalar(select(func.max(WorkBatchRow.ended_at)))
    return max((date for date in (at_work, ended) if date is not None), default=None)


@dataclass(frozen=True, slots=True)
class SiteStarts:
    """The numbers of a site's downloads that began in the last hour and in the last day."""

    site: str
    in_hour: int
    in_day: int


def busiest_sites(session: Session, now: datetime) -> Sequence[SiteStarts]:
    """Return up to 20 sites with the most downloads in the last 24 hours, busiest first, with ties sorted by name."""
    in_hour = func.sum(case((_STARTS.started_at > now - timedelta(hours=1), 1), else_=0))
    in_day = func.count()
    query = (
        select(_STARTS.site, in_hour, in_day)
        .where(_STARTS.started_at > now - timedelta(days=1))
        .group_by(_STARTS.site)
        .order_by(in_day.desc(), _STARTS.site)
        .limit(_BUSIEST)
    )
    return [SiteStarts(site, int(hour), int(day)) for site, hour, day in session.execute(query)]
