"""Questions about many rows: what is left to do, what has settled, what failed and why.

Belongs here: reading. Does not belong here: changes (catalog.py, upkeep.py). Nothing here takes a lock.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select

from data_miner_dagster import __version__
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow, SourceListingRow, VideoRow
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import SETTLED_STATUSES, ProjectStage, ProjectVideoStatus, VideoStatus

KEYS_A_STATEMENT: Final = 5000
"""SQLite takes about 32,000 parameters a statement."""


@dataclass(frozen=True, slots=True)
class ProjectProgress:
    """How far a project's videos have come. Members are those its rules let through."""

    name: str
    stage: ProjectStage
    is_sourced: bool  # its sources have been listed with the configuration it has now
    num_members: int
    num_rejected: int
    num_settled: int
    num_extracted: int


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many stand so, for which reason ("" where a status needs none)."""

    status: str
    reason: str
    count: int


def is_wanted(project: str | None = None) -> ColumnElement[bool]:
    """Return the condition that a project, or any, wants a video."""
    condition = and_(ProjectVideoRow.video_key == VideoRow.key, ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    if project is not None:
        condition = and_(condition, ProjectVideoRow.project_name == project)
    return exists().where(condition)


def due_at(
    error_kind: VideoErrorKind | None, internal_error_version: str | None, retry_after: datetime | None
) -> datetime | None:
    """Return when a failed video may be tried again: after an internal error, as soon as another version is at work.

    None if it waits for a person.
    """
    if error_kind is VideoErrorKind.INTERNAL_ERROR and internal_error_version != __version__:
        return datetime.min.replace(tzinfo=UTC)
    return retry_after


@dataclass(frozen=True, slots=True)
class WantedVideo:
    """The facts of one video that decide what it needs next."""

    key: str
    status: VideoStatus
    retry_after: datetime | None  # with what an update of this package makes due
    has_file: bool  # a downloaded and proven file is on record


def wanted_videos(database: Database, project: str | None = None) -> list[WantedVideo]:
    """Return the videos that a project, or any, wants, by key."""
    query = select(
        VideoRow.key,
        VideoRow.status,
        VideoRow.error_kind,
        VideoRow.internal_error_version,
        VideoRow.retry_after,
        VideoRow.sha256.is_not(None),
    )
    with database.reading() as session:
        rows = session.execute(query.where(is_wanted(project)))
        wanted = [
            WantedVideo(key, status, due_at(kind, version, retry_after), bool(has_file))
            for key, status, kind, version, retry_after, has_file in rows
        ]
    return sorted(wanted, key=attrgetter("key"))


def keys_with_internal_errors(database: Database, video_keys: Collection[str]) -> set[str]:
    """Return which of these videos ever met an internal error."""
    keys = sorted(set(video_keys))
    query = select(VideoRow.key).where(VideoRow.internal_error_version.is_not(None))
    found: set[str] = set()
    with database.reading() as session:
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            found.update(session.scalars(query.where(VideoRow.key.in_(keys[start : start + KEYS_A_STATEMENT]))))
    return found


def addresses_of(database: Database, video_keys: Collection[str]) -> dict[str, tuple[Origin, str]]:
    """Return whose address each of these videos has, and the address; without those that are unknown."""
    keys = sorted(set(video_keys))
    query = select(VideoRow.key, VideoRow.origin, VideoRow.url)
    found: dict[str, tuple[Origin, str]] = {}
    with database.reading() as session:
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            rows = session.execute(query.where(VideoRow.key.in_(keys[start : start + KEYS_A_STATEMENT])))
            found.update({key: (origin, url) for key, origin, url in rows})
    return found


def project_progress(database: Database) -> list[ProjectProgress]:
    """Return every project's progress, by name."""
    is_member = ProjectVideoRow.status != ProjectVideoStatus.REJECTED

    def number_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    query = (
        select(
            ProjectRow.name,
            ProjectRow.stage,
            ProjectRow.sourced_config_hash == ProjectRow.config_hash,
            number_of(is_member),
            number_of(ProjectVideoRow.status == ProjectVideoStatus.REJECTED),
            number_of(and_(is_member, VideoRow.status.in_(SETTLED_STATUSES))),
            number_of(and_(is_member, VideoRow.status == VideoStatus.EXTRACTED)),
        )
        .outerjoin(ProjectVideoRow, ProjectVideoRow.project_name == ProjectRow.name)
        .outerjoin(VideoRow, VideoRow.key == ProjectVideoRow.video_key)
        .group_by(ProjectRow.name, ProjectRow.stage, ProjectRow.sourced_config_hash, ProjectRow.config_hash)
        .order_by(ProjectRow.name)
    )
    with database.reading() as session:
        return [
            ProjectProgress(name, stage, bool(is_sourced), int(members), int(rejected), int(settled), int(extracted))
            for name, stage, is_sourced, members, rejected, settled, extracted in session.execute(query)
        ]


def find_videos(
    database: Database,
    *,
    project: str | None = None,
    statuses: Collection[VideoStatus] | None = None,
    kinds: Collection[VideoErrorKind] | None = None,
    limit: int | None = None,
) -> Sequence[VideoRow]:
    """Return videos by key: those a project wants, in these statuses, with these kinds of error."""
    query = select(VideoRow).order_by(VideoRow.key).limit(limit)
    if project is not None:
        query = query.where(is_wanted(project))
    if statuses is not None:
        query = query.where(VideoRow.status.in_(statuses))
    if kinds is not None:
        query = query.where(VideoRow.error_kind.in_(kinds))
    with database.reading() as session:
        return session.scalars(query).all()


def failed_videos(database: Database, project: str | None = None) -> Sequence[VideoRow]:
    """Return the videos that failed or are withheld, with their reasons, by key."""
    return find_videos(database, project=project, statuses={VideoStatus.FAILED, VideoStatus.UNAVAILABLE})


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


def remarkable_listings(database: Database, project: str | None = None) -> Sequence[SourceListingRow]:
    """Return the last listings that failed, in part or wholly, or that passed files over, by project and source."""
    query = select(SourceListingRow).where(
        or_(SourceListingRow.error.is_not(None), SourceListingRow.passed_over.is_not(None))
    )
    if project is not None:
        query = query.where(SourceListingRow.project_name == project)
    with database.reading() as session:
        return session.scalars(
            query.order_by(SourceListingRow.project_name, SourceListingRow.source, SourceListingRow.query)
        ).all()


def unwanted_videos(database: Database) -> Sequence[VideoRow]:
    """Return the videos that no project wants (any more), by key."""
    with database.reading() as session:
        return session.scalars(select(VideoRow).where(~is_wanted()).order_by(VideoRow.key)).all()


def projects_wanting(
    database: Database, video_keys: Collection[str], *, also_rejected: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the projects that want each of these videos; a video that none wants is left out."""
    keys = sorted(set(video_keys))
    query = select(ProjectVideoRow.video_key, ProjectVideoRow.project_name).order_by(
        ProjectVideoRow.video_key, ProjectVideoRow.project_name
    )
    if not also_rejected:
        query = query.where(ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    wanting: dict[str, tuple[str, ...]] = {}
    with database.reading() as session:
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            some = query.where(ProjectVideoRow.video_key.in_(keys[start : start + KEYS_A_STATEMENT]))
            for key, project in session.execute(some):
                wanting[key] = (*wanting.get(key, ()), project)
    return wanting
