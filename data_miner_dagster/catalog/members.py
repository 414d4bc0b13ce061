"""Which videos are members of which projects, how they came there, and which were rejected.

What comes by key comes in the order of Python's strings. A database sorts by its own collation, which may pass over
case and punctuation, and the bytes of a project's tables must not depend on that.

Belongs here: memberships. Does not belong here: their status as the stages go on (transitions.py).
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
    """Return the condition that a project, or any, wants a video."""
    condition = and_(ProjectVideoRow.video_key == VideoRow.key, ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    if project is not None:
        condition = and_(condition, ProjectVideoRow.project_name == project)
    return exists().where(condition)


def find_members(database: Database, project: str) -> list[ProjectVideoRow]:
    """Return a project's memberships by video key, rejected ones included."""
    with database.reading() as session:
        rows = session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
        return sorted(rows, key=attrgetter("video_key"))


def member_statuses(session: Session, project: str) -> dict[str, ProjectVideoStatus]:
    """Return video key to status of all members of a project, in no order."""
    query = select(ProjectVideoRow.video_key, ProjectVideoRow.status)
    return {row.video_key: row.status for row in session.execute(query.where(ProjectVideoRow.project_name == project))}


def projects_wanting(
    database: Database, video_keys: Collection[str], *, also_rejected: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the projects that want each of these videos; a video that none wants is left out."""
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
    """Insert different videos and their memberships, each with why it is rejected; return which memberships are new.

    A membership that exists keeps its first provenance. One that was rejected and now passes the rules becomes
    PENDING; one that passed and is now rejected becomes REJECTED. One that a person took out of the project stays
    out, unless a person `takes_back`. An address that was known by a listing alone becomes the user's own when the
    user writes it.
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
    """Remove members that stood for entries of a listing that met an internal error, and are gone from it.

    Args:
        database: the catalog.
        project: whose members.
        listed: (source, query) of the listings that were looked at.
        still_there: keys that the listings hold now.
    """
    is_of_fault = ProjectVideoRow.reason.startswith(f"{RejectionRule.INTERNAL_ERROR.value}: ")
    with database.transaction() as session:
        query = select(ProjectVideoRow).where(ProjectVideoRow.project_name == project, is_of_fault)
        for member in session.scalars(query).all():
            if (member.source, member.query) in listed and member.video_key not in still_there:
                session.delete(member)


def take_out(database: Database, project: str, video_keys: Sequence[str]) -> list[str]:
    """Reject members by hand; return the keys of those that the project wanted, sorted."""
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
