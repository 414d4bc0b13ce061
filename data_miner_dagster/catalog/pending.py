"""Pending work: the videos that each stage still has to process, kept up to date by the transactions that change them.

A row of `pending_work` follows from a video's status, retry time and bases, and from the projects that want it. Code
that changes any of these must call `reindex_videos` in the same transaction. Planners then need not read all videos or
files.

Belongs here: those rows, and recording that the inputs of a project have changed. Does not belong here: assigning the
work (batches.py).
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Table, delete, exists, false, func, insert, select, update
from sqlalchemy.orm import Session

from data_miner_dagster import __version__
from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow, VideoRow, utc_now
from data_miner_dagster.catalog.wanted_work import (
    BASIS_LENGTH,
    Scope,
    delete_statement,
    upsert_statement,
)
from data_miner_dagster.catalog.work_tables import BatchItemRow, PendingWorkRow, WorkBasisRow
from data_miner_dagster.catalog.writers import Topic, is_postgresql, lock_topic, lock_videos
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage

_VIDEOS: Final = cast("Table", VideoRow.__table__)
_MEMBERS: Final = cast("Table", ProjectVideoRow.__table__)
_PROJECTS: Final = cast("Table", ProjectRow.__table__)
_PENDING: Final = cast("Table", PendingWorkRow.__table__)
_BASES: Final = cast("Table", WorkBasisRow.__table__)
_ITEMS: Final = cast("Table", BatchItemRow.__table__)


def join_frames_bases(of_videos: str, of_pictures: str) -> str:
    """Return the basis of extraction, combined from the basis for videos and the basis for folders of pictures."""
    return of_videos + of_pictures


def frames_basis_of(video_key: str, basis: str) -> str:
    """Return the part of the basis of extraction that applies to a video."""
    return basis[BASIS_LENGTH:] if video_key.startswith(FRAMES_PREFIX) else basis[:BASIS_LENGTH]


def _reindex(session: Session, scope: Scope, **named: Any) -> int:
    """Update the pending work of the videos in a scope, and return the number of deleted rows.

    `named` contains the other parameters of the scope's statements.
    """
    connection = session.connection()
    dialect = connection.dialect.name
    parameters = {"version": __version__, **named} | ({} if dialect == "postgresql" else {"now": utc_now()})
    num_deleted = connection.execute(delete_statement(scope, dialect), parameters).rowcount
    connection.execute(upsert_statement(scope, dialect), parameters)
    return num_deleted


def reindex_held_video(session: Session, video_key: str) -> None:
    """Update the pending work of a video whose row this transaction has changed, and therefore locked."""
    _reindex(session, "one", of_key=video_key)


def reindex_videos(session: Session, video_keys: Collection[str]) -> None:
    """Update the pending work of videos to match their statuses, retry times, bases and memberships.

    Call this after the change, in the same transaction. A row that remains keeps the time at which it became pending.
    It also keeps its due time if it was due before and still is.
    """
    session.flush()
    for some in portions(video_keys):
        lock_videos(session, some)  # if two transactions change a video, the second sees the changes of the first
        _reindex(session, "some", keys=some)


def raise_content_versions(session: Session, projects: Collection[str]) -> None:
    """Record that the inputs of projects have changed: their memberships, videos or verdicts.

    Call this after changing videos, so that all transactions take their locks in the same order.
    """
    names = sorted(set(projects))
    if not names:
        return
    is_named = _PROJECTS.c.name.in_(names)
    if is_postgresql(session):
        ordered = select(_PROJECTS.c.name).where(is_named).order_by(_PROJECTS.c.name)
        session.execute(ordered.with_for_update(key_share=True))
    values = {"content_version": _PROJECTS.c.content_version + 1, "updated_at": _PROJECTS.c.updated_at}
    session.execute(update(_PROJECTS).where(is_named).values(values))


def projects_of(session: Session, video_keys: Collection[str]) -> set[str]:
    """Return the names of the projects that want any of these videos."""
    found: set[str] = set()
    query = select(_MEMBERS.c.project_name).where(_MEMBERS.c.status != ProjectVideoStatus.REJECTED).distinct()
    for some in portions(video_keys):
        found.update(session.scalars(query.where(_MEMBERS.c.video_key.in_(some))))
    return found


def end_embedding(session: Session, video_key: str) -> None:
    """Record that a video that is no longer EXTRACTED has no embeddings, and that its projects' inputs have changed.

    The caller must have locked the video's row.
    """
    session.execute(update(_VIDEOS).where(_VIDEOS.c.key == video_key).values(embedding_basis=None))
    raise_content_versions(session, projects_of(session, [video_key]))


def record_bases(session: Session, stage: WorkStage, basis_by_key: Mapping[str, str | None]) -> list[str]:
    """Record the bases of EXTRACTED videos' frames if `stage` is EXTRACTION, or of their embeddings otherwise.

    A basis of None clears the recorded basis. Call this once the files are in place.

    Returns:
        The keys of the videos whose basis has changed, sorted. Their pending work and the content versions of their
        projects have been updated.
    """
    column = _VIDEOS.c.frames_basis if stage is WorkStage.EXTRACTION else _VIDEOS.c.embedding_basis
    changed = []
    for key, basis in sorted(basis_by_key.items()):
        differs = _VIDEOS.c.key == key, _VIDEOS.c.status == VideoStatus.EXTRACTED, column.is_distinct_from(basis)
        values = {column: basis, _VIDEOS.c.updated_at: _VIDEOS.c.updated_at}
        if session.connection().execute(update(_VIDEOS).where(*differs).values(values)).rowcount:
            changed.append(key)
    reindex_videos(session, changed)
    raise_content_versions(session, projects_of(session, changed))
    return changed


def _recorded(session: Session) -> dict[WorkStage, str]:
    return {row.stage: row.basis for row in session.execute(select(_BASES.c.stage, _BASES.c.basis))}


def bases_on_record(database: Database) -> dict[WorkStage, str]:
    """Return the bases for which the pending work was last determined."""
    with database.reading() as session:
        return _recorded(session)


def refresh_bases(database: Database, bases: Mapping[WorkStage, str]) -> int:
    """If any basis differs from the recorded one, record the bases and determine all pending work again.

    If a recorded basis of extraction or embedding has changed, the inputs of every project also count as changed.

    Args:
        database: the catalog.
        bases: by stage, the fingerprint of everything that decides whether the stage's work is done (settings, version,
            weights).

    Returns:
        The number of rows that became pending.
    """
    if dict(bases).items() <= bases_on_record(database).items():
        return 0
    with database.transaction() as session:
        lock_topic(session, Topic.BASES)
        recorded = _recorded(session)
        changed = {stage for stage, basis in bases.items() if recorded.get(stage) != basis}
        session.execute(delete(_BASES).where(_BASES.c.stage.in_(changed)))
        if changed:
            session.execute(insert(_BASES), [{"stage": stage, "basis": bases[stage]} for stage in sorted(changed)])
        if is_postgresql(session):
            session.execute(select(_VIDEOS.c.key).order_by(_VIDEOS.c.key).with_for_update(key_share=True)).all()
        number = select(func.count()).select_from(_PENDING)
        num_before = session.scalar(number) or 0
        num_deleted = _reindex(session, "all")
        if changed & recorded.keys() & {WorkStage.EXTRACTION, WorkStage.EMBEDDING}:  # other videos are ready now
            raise_content_versions(session, session.scalars(select(_PROJECTS.c.name)).all())
        return (session.scalar(number) or 0) - (num_before - num_deleted)


def is_project_settled(session: Session, project: str, now: datetime) -> bool:
    """Return whether no video of a project is due, in flight, or waiting for disk space.

    Videos that are not due yet do not count, unless they are waiting for disk space.
    """
    of_project = _PENDING.c.project_name == project
    # Compares the earliest due time instead of using EXISTS, for which PostgreSQL may choose to read all rows.
    next_due_at = select(func.min(_PENDING.c.due_at)).where(of_project).scalar_subquery()
    is_due = func.coalesce(next_due_at <= now, false())
    in_flight = exists().where(of_project, _ITEMS.c.item == _PENDING.c.video_key, _ITEMS.c.stage == _PENDING.c.stage)
    waits_for_room = exists().where(
        of_project,
        _PENDING.c.stage == WorkStage.DOWNLOADING,
        _VIDEOS.c.key == _PENDING.c.video_key,
        _VIDEOS.c.status == VideoStatus.PENDING,
        _VIDEOS.c.error_kind == VideoErrorKind.DISK_FULL,
    )
    return session.scalar(select(~is_due & ~in_flight & ~waits_for_room)) is True


def project_basis(row: ProjectRow, *, models: str) -> str:
    """Return the fingerprint of a project's current inputs.

    Args:
        row: the row of the project. Its content version is raised by changes to the project's videos and verdicts.
        models: the fingerprint of the platform's models.
    """
    return fingerprint_of({"content": row.content_version, "config": row.config_hash, "models": models})


def mark_built(database: Database, basis_by_project: Mapping[str, str]) -> None:
    """Record the basis that each project was built from, unless one is already recorded. `updated_at` is kept."""
    with database.transaction() as session:
        for name, basis in sorted(basis_by_project.items()):
            is_unknown = _PROJECTS.c.name == name, _PROJECTS.c.built_basis.is_(None)
            values = {"built_basis": basis, "updated_at": _PROJECTS.c.updated_at}
            session.execute(update(_PROJECTS).where(*is_unknown).values(values))
