"""The videos of each project, their provenance, and whether they are rejected.

Results that are sorted by key use Python's string order. A database sorts by its own collation, which may ignore case
and punctuation, but a project's tables must have the same bytes on every database.

Belongs here: memberships. Does not belong here: status changes as the stages progress (transitions.py).
"""

from collections.abc import Collection, Sequence
from operator import attrgetter

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.forgotten import forgotten_among
from data_miner_dagster.catalog.pending import raise_content_versions, reindex_videos
from data_miner_dagster.catalog.schema import (
    ProjectVideoRow,
    VideoRow,
)
from data_miner_dagster.catalog.writers import insert_absent, lock_videos
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import VIDEO_FACTS, VideoCandidate
from data_miner_dagster.domain.statuses import (
    ProjectVideoStatus,
    VideoStatus,
)


def is_wanted(project: str | None = None) -> ColumnElement[bool]:
    """Return the SQL condition that `project` wants a video, or that any project wants it if `project` is None.

    The condition is for queries over `VideoRow`. A project wants its members that are not rejected.
    """
    condition = and_(ProjectVideoRow.video_key == VideoRow.key, ProjectVideoRow.status != ProjectVideoStatus.REJECTED)
    if project is not None:
        condition = and_(condition, ProjectVideoRow.project_name == project)
    return exists().where(condition)


def find_members(database: Database, project: str) -> list[ProjectVideoRow]:
    """Return a project's memberships, including rejected ones, sorted by video key."""
    with database.reading() as session:
        rows = session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
        return sorted(rows, key=attrgetter("video_key"))


def has_members(session: Session, project: str) -> bool:
    """Return whether a project wants at least one video."""
    query = select(ProjectVideoRow.video_key).where(
        ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED
    )
    return session.execute(query.limit(1)).first() is not None


def num_embedded_members(session: Session, project: str) -> int:
    """Return the number of a project's wanted videos that have embeddings. The query reads all of its memberships."""
    query = (
        select(func.count())
        .select_from(ProjectVideoRow)
        .join(VideoRow, VideoRow.key == ProjectVideoRow.video_key)
        .where(
            ProjectVideoRow.project_name == project,
            ProjectVideoRow.status != ProjectVideoStatus.REJECTED,
            VideoRow.embedding_basis.is_not(None),
        )
    )
    return session.scalar(query) or 0


def is_usable_member(session: Session, project: str, video_key: str) -> bool:
    """Return whether a project wants a video, and the video is neither failed nor unavailable."""
    failed = (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
    query = select(VideoRow.key).where(VideoRow.key == video_key, VideoRow.status.not_in(failed), is_wanted(project))
    return session.scalar(query) is not None


def skipped_reuploads(session: Session, project: str) -> dict[str, str]:
    """Return the keys of the videos that a project rejects as re-uploads, each mapped to the key of its original.

    Videos without a known original are omitted.
    """
    query = (
        select(VideoRow.key, VideoRow.duplicate_of)
        .join(ProjectVideoRow, ProjectVideoRow.video_key == VideoRow.key)
        .where(
            ProjectVideoRow.project_name == project,
            ProjectVideoRow.reason.startswith(f"{RejectionRule.REUPLOAD.value}: "),
            VideoRow.duplicate_of.is_not(None),
        )
    )
    return {row.key: row.duplicate_of for row in session.execute(query)}


def take_back_reuploads(session: Session, project: str) -> list[str]:
    """Make rejected re-uploads PENDING if the project can no longer use their originals. Return their keys, sorted."""
    skipped = skipped_reuploads(session, project).items()
    gone = [key for key, original in skipped if not is_usable_member(session, project, original)]
    lock_videos(session, gone)
    for member in _locked_members(session, project, gone).values():
        member.status, member.reason = ProjectVideoStatus.PENDING, None
    if gone:
        reindex_videos(session, gone)
        raise_content_versions(session, [project])
    return sorted(gone)


def member_statuses(session: Session, project: str) -> dict[str, ProjectVideoStatus]:
    """Return the status of each membership of a project by video key, in no particular order."""
    query = select(ProjectVideoRow.video_key, ProjectVideoRow.status)
    return {row.video_key: row.status for row in session.execute(query.where(ProjectVideoRow.project_name == project))}


def projects_wanting(
    database: Database, video_keys: Collection[str], *, also_rejected: bool = False
) -> dict[str, tuple[str, ...]]:
    """Return the sorted names of the projects that want each of these videos, by video key.

    With `also_rejected`, the projects that reject a video are included, too. Videos without any project are omitted.
    """
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
    """Insert distinct videos and their memberships, and return, for each candidate, whether its membership is new.

    Each entry of `decided` is a candidate and the reason for its rejection, or None if it passes the rules. An existing
    membership keeps its first provenance. It becomes PENDING if it was rejected and now passes the rules, and REJECTED
    if it passed and is now rejected. A video that a person removed from the project stays rejected unless `takes_back`
    is set. If a video's address is known only from a listing, an address that the user enters replaces it.
    Videos that have been removed on request are not inserted, and False is returned for them.
    """
    keys = [candidate.video_key for candidate, _ in decided]
    forgotten = forgotten_among(session, [candidate for candidate, _ in decided])
    by_key = {candidate.video_key: (candidate, reason) for candidate, reason in decided}
    wanted = {key: by_key[key] for key in sorted(by_key.keys() - forgotten)}
    _add_videos(session, [candidate for candidate, _ in wanted.values()])
    known = _locked_members(session, project, wanted)
    new = insert_absent(
        session,
        ProjectVideoRow,
        [
            {
                "project_name": project,
                "video_key": key,
                "source": candidate.source,
                "query": candidate.query,
                "rank": candidate.rank,
                "found_at": candidate.found_at,
                "status": ProjectVideoStatus.PENDING if reason is None else ProjectVideoStatus.REJECTED,
                "reason": reason,
            }
            for key, (candidate, reason) in wanted.items()
            if key not in known
        ],
        returning="video_key",
    )
    is_new = {row.video_key for row in new}
    decided_otherwise = {
        key for key, member in known.items() if _decide_again(member, wanted[key][1], takes_back=takes_back)
    }
    if changed := is_new | decided_otherwise:
        reindex_videos(session, changed)
        raise_content_versions(session, [project])
    session.flush()
    return [key in is_new for key in keys]


def _add_videos(session: Session, candidates: Sequence[VideoCandidate]) -> None:
    """Insert the candidates' videos unless they exist, and lock them against changes until this transaction ends.

    If an existing video's address was known only from a listing, the user's own address replaces it.
    """
    rows = [
        {
            "key": candidate.video_key,
            "url": candidate.url,
            "origin": candidate.origin,
            "status": VideoStatus.PENDING,
            **{name: getattr(candidate, name) for name in VIDEO_FACTS},
        }
        for candidate in candidates
    ]
    missing = {candidate.video_key for candidate in candidates}
    while missing:  # repeats only for a video that another transaction was deleting
        insert_absent(session, VideoRow, [row for row in rows if row["key"] in missing], returning="key")
        lock_videos(session, missing)
        for some in portions(missing):
            missing -= set(session.scalars(select(VideoRow.key).where(VideoRow.key.in_(some))))
    for candidate in candidates:
        if candidate.origin is Origin.OWN:
            session.execute(
                update(VideoRow)
                .where(VideoRow.key == candidate.video_key, VideoRow.origin == Origin.FOREIGN)
                .values(url=candidate.url, origin=candidate.origin)
            )


def _locked_members(session: Session, project: str, video_keys: Collection[str]) -> dict[str, ProjectVideoRow]:
    """Return the existing memberships of videos in a project by key, locked until the transaction ends."""
    query = select(ProjectVideoRow).where(ProjectVideoRow.project_name == project).with_for_update()
    found: dict[str, ProjectVideoRow] = {}
    for some in portions(video_keys):
        of_some = query.where(ProjectVideoRow.video_key.in_(some)).order_by(ProjectVideoRow.video_key)
        found |= {row.video_key: row for row in session.scalars(of_some)}
    return found


def _decide_again(member: ProjectVideoRow, rejected_because: str | None, *, takes_back: bool) -> bool:
    """Apply the current decision of the rules to a membership.

    A video that a person removed stays rejected unless `takes_back` is set.

    Returns:
        True if the project has begun or ceased to want the video.
    """
    if (member.reason or "").startswith(f"{RejectionRule.BY_HAND.value}:") and not takes_back:
        return False
    was_rejected, is_rejected = member.status is ProjectVideoStatus.REJECTED, rejected_because is not None
    if was_rejected != is_rejected:
        member.status = ProjectVideoStatus.REJECTED if is_rejected else ProjectVideoStatus.PENDING
    member.reason = rejected_because
    return was_rejected != is_rejected


def delete_faulty_entries(
    database: Database, project: str, listed: Collection[tuple[str, str]], still_there: Collection[str]
) -> None:
    """Delete memberships for listing entries that caused internal errors, once the entries are no longer listed.

    Args:
        database: the catalog.
        project: the name of the project.
        listed: the (source, query) pairs of the listings that were read.
        still_there: the keys of the videos that the listings currently contain.
    """
    is_of_fault = ProjectVideoRow.reason.startswith(f"{RejectionRule.INTERNAL_ERROR.value}: ")
    with database.transaction() as session:
        query = select(ProjectVideoRow).where(ProjectVideoRow.project_name == project, is_of_fault)
        repaired = {
            member.video_key
            for member in session.scalars(query)
            if (member.source, member.query) in listed and member.video_key not in still_there
        }
        lock_videos(session, repaired)
        for some in portions(repaired):
            session.execute(
                delete(ProjectVideoRow).where(
                    ProjectVideoRow.project_name == project, ProjectVideoRow.video_key.in_(some), is_of_fault
                )
            )
        reindex_videos(session, repaired)


def take_out(database: Database, project: str, video_keys: Sequence[str]) -> list[str]:
    """Reject members of a project at a person's request. Return the keys of those that the project wanted, sorted."""
    with database.transaction() as session:
        lock_videos(session, video_keys)
        rows = _locked_members(session, project, video_keys)
        wanted = sorted(key for key, row in rows.items() if row.status is not ProjectVideoStatus.REJECTED)
        for row in rows.values():
            row.status = ProjectVideoStatus.REJECTED
            row.reason = f"{RejectionRule.BY_HAND.value}: removed from the project"
        reindex_videos(session, wanted)
        if wanted:
            raise_content_versions(session, [project])
    return wanted
