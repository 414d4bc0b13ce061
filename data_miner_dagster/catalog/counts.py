"""Exact counts of videos and memberships by where they stand, and why."""

from dataclasses import dataclass

from sqlalchemy import func, select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import is_wanted
from data_miner_dagster.catalog.schema import (
    ProjectVideoRow,
    VideoRow,
)
from data_miner_dagster.domain.statuses import (
    ProjectVideoStatus,
    VideoStatus,
)


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many stand so, for which reason ("" where a status needs none)."""

    status: str
    reason: str
    count: int


def count_videos(database: Database, project: str | None = None) -> list[StatusCount]:
    """Return exact counts of videos by status and kind of error, in the order of the statuses."""
    query = select(VideoRow.status, VideoRow.error_kind, func.count()).group_by(VideoRow.status, VideoRow.error_kind)
    if project is not None:
        query = query.where(is_wanted(project))
    with database.reading() as session:
        rows = [
            StatusCount(status.value, kind.value if kind is not None else "", count)
            for status, kind, count in session.execute(query)
        ]
    order = [status.value for status in VideoStatus]
    return sorted(rows, key=lambda row: (order.index(row.status), row.reason))


def count_project_videos(database: Database, project: str | None = None) -> list[StatusCount]:
    """Return exact counts of memberships by status and reason (of a rejection: its rule), in the order of statuses."""
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
