"""Exact counts of videos and memberships by status and reason."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import is_wanted
from data_miner_dagster.catalog.schema import (
    ProjectVideoRow,
    VideoRow,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import (
    ProjectVideoStatus,
    VideoStatus,
)


@dataclass(frozen=True, slots=True)
class StatusCount:
    """The number of memberships with a status and a reason. `reason` is "" if none is stored."""

    status: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class VideoCount:
    """The number of videos with a status and a reason, how many of them are stuck, and the time of the next retry.

    `reason` is the kind of the error, or "" if there was no error.
    """

    status: str
    reason: str
    count: int
    num_stuck: int  # failed transiently in at least `stuck_after` attempts
    next_try: datetime | None  # the earliest stored retry time, or None if no video has one


def count_videos(database: Database, project: str | None = None, *, stuck_after: int = 1) -> list[VideoCount]:
    """Return exact counts of videos by status and error kind, in the order of the statuses.

    Only videos that `project` wants are counted, or all videos if it is None. A video with a transient failure counts
    as stuck after `stuck_after` attempts.
    """
    passing = [kind for kind in VideoErrorKind if kind.is_transient]
    is_stuck = and_(
        VideoRow.status == VideoStatus.FAILED, VideoRow.error_kind.in_(passing), VideoRow.attempts >= stuck_after
    )
    query = select(
        VideoRow.status,
        VideoRow.error_kind,
        func.count(),
        func.sum(case((is_stuck, 1), else_=0)),
        func.min(VideoRow.retry_after),
    ).group_by(VideoRow.status, VideoRow.error_kind)
    if project is not None:
        query = query.where(is_wanted(project))
    with database.reading() as session:
        rows = [
            VideoCount(status.value, kind.value if kind is not None else "", count, int(num_stuck), next_try)
            for status, kind, count, num_stuck, next_try in session.execute(query)
        ]
    order = [status.value for status in VideoStatus]
    return sorted(rows, key=lambda row: (order.index(row.status), row.reason))


def count_project_videos(database: Database, project: str | None = None) -> list[StatusCount]:
    """Return exact counts of memberships by status and reason, in status order.

    Only memberships in `project` count, or all memberships if it is None. For a rejected membership, the reason is the
    name of the violated rule, without details.
    """
    query = select(ProjectVideoRow.status, ProjectVideoRow.reason, func.count()).group_by(
        ProjectVideoRow.status, ProjectVideoRow.reason
    )
    if project is not None:
        query = query.where(ProjectVideoRow.project_name == project)
    counts: dict[tuple[ProjectVideoStatus, str], int] = {}
    with database.reading() as session:
        for status, reason, count in session.execute(query):
            key = (status, (reason or "").partition(":")[0])
            counts[key] = counts.get(key, 0) + count
    order = list(ProjectVideoStatus)
    return [
        StatusCount(status.value, reason, counts[status, reason])
        for status, reason in sorted(counts, key=lambda key: (order.index(key[0]), key[1]))
    ]
