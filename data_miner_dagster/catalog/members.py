"""The videos of each project, their provenance, and which of them were rejected.

Results sorted by key use Python's string order. A database sorts by its own collation, which may ignore case and
punctuation, and the bytes of a project's tables must not depend on that.

Belongs here: memberships. Does not belong here: their status as the stages progress (transitions.py).
"""

from collections.abc import Collection, Sequence
from operator import attrgetter

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import (
    ProjectVideoRow,
    VideoRow,
)
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import VIDEO_FACTS, VideoCandidate
from data_miner_dagster.domain.statuses import (
    ProjectVideoStatus,
    VideoStatus,
)


def is_wanted(project: str | None = None) -> ColumnElement[bool]:
    """Return the condition that a project wants a video. None means any project."""
    condition = and_(ProjectVideoRow.video_key == VideoRow.key, ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    if project is not None:
        condition = and_(condition, ProjectVideoRow.project_name == project)
    return exists().where(condition)


def find_members(database: Database, project: str) -> list[ProjectVideoRow]:
    """Return a project's memberships by video key, including rejected ones."""
    with database.reading() as session:
        rows = session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
        return sorted(rows, key=attrgetter("video_key"))


def member_statuses(session: Session, project: str) -> dict[str, ProjectVideoStatus]:
    """Return the status of each member of a project by video key, in no particular order."""
    query = select(ProjectVideoRow.video_key, ProjectVideoRow.status)
    return {row.video_key: row.status for row in session.execute(query.where(ProjectVideoRow.project_name == project))}


def projects_wanting(
    database: Database, video_keys: Collection[str], *, also_rejected: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the projects that want each of these videos. Leaves out videos that no project wants."""
    query = select(ProjectVideoRow.video_key, ProjectVideoRow.project_name).order_by(
        ProjectVideoRow.video_key, ProjectVideoRow.project_name
    )
    if not also_rejected:
        query = query.where(ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    wanting: dict[str, tuple[str, ...]] = {}
    with database.reading() as session:
        for some in portions(video_keys):
            for key, project in session.execute(query.where(ProjectVideoRow.video_key.in_(some))):
                wanting[key] = (*wanting.get(key, ()), project)
    return wanting


def add_candidates(
    session: Session,
    project: str,
    decided: Sequence[tuple[VideoCandidate, str | None]],
    *,
    takes_back: bool = False,
) -> list[bool]:
    """Insert distinct videos and their memberships with any rejection reasons. Return which memberships are new.

    An existing membership keeps its first provenance. It becomes PENDING if it was rejected and now passes the rules,
    and REJECTED if it passed and is now rejected. A member that a person removed stays out unless a person
    `takes_back`. An address known only from a listing becomes the user's own when the user writes it.
    """
    keys = [candidate.video_key for candidate, _ in decided]
    known: dict[str, Origin] = {}
    members: dict[str, ProjectVideoRow] = {}
    for some in portions(keys):
        some_rows = session.execute(select(VideoRow.key, VideoRow.origin).where(VideoRow.key.in_(some)))
        known |= {row.key: row.origin for row in some_rows}
        is_member = ProjectVideoRow.project_name == project, ProjectVideoRow.video_key.in_(some)
        members |= {row.video_key: row for row in session.scalars(select(ProjectVideoRow).where(*is_member))}
    session.add_all(_video_of(candidate) for candidate, _ in decided if candidate.video_key not in known)
    for candidate, _ in decided:
        if candidate.origin is Origin.OWN and known.get(candidate.video_key) is Origin.FOREIGN:
            row = session.get_one(VideoRow, candidate.video_key)
            row.url, row.origin = candidate.url, candidate.origin
    for candidate, rejected_because in decided:
        status = ProjectVideoStatus.PENDING if rejected_because is None else ProjectVideoStatus.REJECTED
        member = members.get(candidate.video_key)
        if member is None:
            session.add(
                ProjectVideoRow(
                    project_name=project,
                    video_key=candidate.video_key,
                    source=candidate.source,
                    query=candidate.query,
                    rank=candidate.rank,
                    found_at=candidate.found_at,
                    status=status,
                    reason=rejected_because,
                )
            )
            continue
        if (member.reason or "").startswith(f"{RejectionRule.BY_HAND.value}:") and not takes_back:
            continue
        was_rejected, is_rejected = member.status is ProjectVideoStatus.REJECTED, rejected_because is not None
        if was_rejected != is_rejected:
            member.status = status
        member.reason = rejected_because
    session.flush()
    return [key not in members for key in keys]


def delete_faulty_entries(
    database: Database, project: str, listed: Collection[tuple[str, str]], still_there: Collection[str]
) -> None:
    """Remove placeholder members for faulty listing entries (internal errors) that the listing no longer contains.

    Args:
        database: the catalog.
        project: the project of the members.
        listed: (source, query) of the listings that were read.
        still_there: keys that the listings contain now.
    """
    is_of_fault = ProjectVideoRow.reason.startswith(f"{RejectionRule.INTERNAL_ERROR.value}: ")
    with database.transaction() as session:
        query = select(ProjectVideoRow).where(ProjectVideoRow.project_name == project, is_of_fault)
        for member in session.scalars(query).all():
            if (member.source, member.query) in listed and member.video_key not in still_there:
                session.delete(member)


def take_out(database: Database, project: str, video_keys: Sequence[str]) -> list[str]:
    """Reject members on a person's request. Return the sorted keys of those that the project wanted."""
    with database.transaction() as session:
        rows = session.scalars(
            select(ProjectVideoRow)
            .where(ProjectVideoRow.project_name == project, ProjectVideoRow.video_key.in_(sorted(set(video_keys))))
            .order_by(ProjectVideoRow.video_key)
        ).all()
        wanted = [row.video_key for row in rows if row.status is not ProjectVideoStatus.REJECTED]
        for row in rows:
            row.status = ProjectVideoStatus.REJECTED
            row.reason = f"{RejectionRule.BY_HAND.value}: taken out of the project"
    return wanted


def _video_of(candidate: VideoCandidate) -> VideoRow:
    facts = {name: getattr(candidate, name) for name in VIDEO_FACTS}
    return VideoRow(
        key=candidate.video_key, url=candidate.url, origin=candidate.origin, status=VideoStatus.PENDING, **facts
    )
