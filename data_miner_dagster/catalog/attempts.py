"""Failed attempts: which item failed at which stage, how many times in a row, and when it will be retried.

There is one row per failure, and at most 20 rows per item and stage. When an item succeeds at a stage, its rows for
that stage are deleted.

Belongs here: the rows. Does not belong here: deciding what a failure concerns (operations/run_failures.py), outages of
a whole stage (gates.py), items whose process died (deaths.py).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy import Select, Table, bindparam, delete, func, or_, select
from sqlalchemy.orm import Session

from data_miner_dagster import __version__
from data_miner_dagster.catalog.database import Database, now_of, portions
from data_miner_dagster.catalog.pending import reindex_videos
from data_miner_dagster.catalog.schema import ProjectVideoRow
from data_miner_dagster.catalog.work_tables import AttemptRow, SuspectRow
from data_miner_dagster.domain.backoff import backoff_seconds
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import AT_ONCE, VIDEO_STAGES, Failure, FailureKind, FailureScope, WorkStage

_MOST_ROWS: Final = 20
"""Maximum number of rows per item and stage. The back-off reaches its cap long before that."""
_PATIENCE: Final = 3
"""An item that has failed this many times waits for another version if the last failure is a fault of this program."""
_CLEAR: Final = tuple(
    delete(table).where(table.c.stage == bindparam("of_stage"), table.c.item == bindparam("of_item"))
    for table in (cast("Table", AttemptRow.__table__), cast("Table", SuspectRow.__table__))
)
"""Statements that clear an item's failures and deaths, built once because they run whenever a video succeeds."""


def record_attempt(session: Session, stage: WorkStage, item: str, failure: Failure, due_at: datetime | None) -> None:
    """Record a failed attempt at an item (a video's key or a project's name).

    Args:
        session: the caller's transaction.
        stage: the stage that failed.
        item: the item that the stage worked on.
        failure: what happened.
        due_at: when the item may be retried, or None if it must not be retried until its inputs change or a person
            requests a retry. After a fault of this program, a new version also allows a retry.
    """
    known = session.scalars(
        select(AttemptRow.id).where(AttemptRow.stage == stage, AttemptRow.item == item).order_by(AttemptRow.id.desc())
    ).all()
    if oldest := known[_MOST_ROWS - 1 :]:
        session.execute(delete(AttemptRow).where(AttemptRow.id.in_(oldest)))
    session.add(
        AttemptRow(
            stage=stage,
            item=item,
            scope=failure.scope,
            kind=failure.kind,
            message=with_references(failure.message),
            run_id=failure.run_id,
            version=__version__,
            basis=failure.basis,
            failed_at=now_of(session),
            due_at=due_at,
        )
    )
    _reindex(session, stage, [item])


def _reindex(session: Session, stage: WorkStage, items: Collection[str]) -> None:
    """Update the due times of videos, which depend on their failed attempts. For project stages, flush the session."""
    if stage in VIDEO_STAGES:
        reindex_videos(session, items)
    else:
        session.flush()


def charge_failure(session: Session, stage: WorkStage, item: str, failure: Failure, *, waits: bool = False) -> None:
    """Record a failed attempt at an item, and schedule a retry after 30 s to 6 h unless the item has to wait.

    Args:
        session: the caller's transaction.
        stage: the stage that failed.
        item: the item that the stage worked on.
        failure: what happened.
        waits: True if only a person can fix the cause, so that the item is not retried automatically. The item also
            waits if the failure is a fault of this program and at least the item's third failure with the same inputs.
    """
    num_failures = num_attempts(session, stage, item, failure.basis) + 1
    waits = waits or (_is_of_program(failure.kind) and num_failures >= _PATIENCE)
    due_at = None if waits else now_of(session) + timedelta(seconds=backoff_seconds(num_failures))
    record_attempt(session, stage, item, failure, due_at)


def clear_attempts(session: Session, stage: WorkStage, items: Collection[str]) -> None:
    """Delete the failure and death records of items at a stage, because the items succeeded or start over."""
    if items:
        values = [{"of_stage": stage, "of_item": item} for item in items]
        session.flush()
        num_rows = sum([session.connection().execute(statement, values).rowcount for statement in _CLEAR])
        # Most items have never failed, and then nothing changes. For several items, drivers do not report the row
        # count.
        if num_rows or len(items) > 1:
            _reindex(session, stage, items)


def forget_items(session: Session, items: Collection[str]) -> None:
    """Delete the failure and death records of videos or projects at every stage, because the items start over."""
    for stage in WorkStage:
        clear_attempts(session, stage, items)


def num_attempts(session: Session, stage: WorkStage, item: str, basis: str | None = None) -> int:
    """Return the number of an item's recorded failures at a stage, which is at most 20.

    With `basis`, only failures with this fingerprint of the inputs count.
    """
    query = select(func.count()).where(AttemptRow.stage == stage, AttemptRow.item == item)
    if basis is not None:
        query = query.where(AttemptRow.basis == basis)
    return session.scalar(query) or 0


def next_due(session: Session, stage: WorkStage, item: str, basis: str | None = None) -> datetime | None:
    """Return when an item may be requested again at a stage.

    Only the item's last failure counts. The result is `AT_ONCE` if the item has not failed, if the fingerprint of the
    failure's inputs differs from `basis`, or if the failure was a fault of another version of this program. It is None
    if the item waits for a change of its inputs or for a person.
    """
    return due_dates(session, stage, [item], basis).get(item, AT_ONCE)


def due_dates(
    session: Session, stage: WorkStage, items: Collection[str], basis: str | None = None
) -> dict[str, datetime | None]:
    """Return when each item may be requested again at a stage, as `next_due` does for one item.

    Items that have not failed at the stage are omitted.
    """
    return {row.item: _due_at(row, basis) for row in _last_attempts(session, stage, items)}


def last_failures(
    session: Session, stages: Collection[WorkStage], items: Collection[str]
) -> list[tuple[AttemptRow, datetime | None]]:
    """Return a (last failure, time of the next retry) pair for each failed item and stage, in no particular order.

    The time is `AT_ONCE` after a fault of another version of this program, and None if the item is not retried before
    its inputs change or a person requests a retry.
    """
    found: list[tuple[AttemptRow, datetime | None]] = []
    for some in portions(items):
        last = select(func.max(AttemptRow.id)).where(AttemptRow.stage.in_(stages), AttemptRow.item.in_(some))
        query = select(AttemptRow).where(AttemptRow.id.in_(last.group_by(AttemptRow.stage, AttemptRow.item)))
        found += [(row, _due_at(row, None)) for row in session.scalars(query)]
    return found


def _last_attempts(session: Session, stage: WorkStage, items: Collection[str]) -> Iterator[AttemptRow]:
    for some in portions(items):
        last = select(func.max(AttemptRow.id)).where(AttemptRow.stage == stage, AttemptRow.item.in_(some))
        yield from session.scalars(select(AttemptRow).where(AttemptRow.id.in_(last.group_by(AttemptRow.item))))


def _due_at(row: AttemptRow, basis: str | None) -> datetime | None:
    if basis is not None and row.basis is not None and row.basis != basis:
        return AT_ONCE
    if _is_of_program(row.kind) and row.version != __version__:
        return AT_ONCE
    return row.due_at


def _is_of_program(kind: str) -> bool:
    return kind in list(FailureKind) and FailureKind(kind).is_of_program


@dataclass(frozen=True, slots=True)
class FailureCount:
    """The number of items whose last attempt at a stage failed in the same way, their next retry, and a message."""

    stage: WorkStage
    scope: FailureScope
    kind: str
    num_items: int
    next_due: datetime | None  # the earliest stored retry time, or None if no time is stored
    message: str  # the message of the most recent failure


def count_failures(database: Database, project: str | None = None) -> list[FailureCount]:
    """Count the last failures of all items, or of a project and its members.

    The counts are sorted by stage, scope and kind. Rejected members of the project are not counted.
    """
    last = select(func.max(AttemptRow.id)).group_by(AttemptRow.stage, AttemptRow.item)
    if project is not None:
        last = last.where(or_(AttemptRow.item == project, AttemptRow.item.in_(_members(project))))
    group = AttemptRow.stage, AttemptRow.scope, AttemptRow.kind
    query = select(*group, func.count(), func.min(AttemptRow.due_at), func.max(AttemptRow.id)).group_by(*group)
    with database.reading() as session:
        rows = session.execute(query.where(AttemptRow.id.in_(last))).all()
        shown = select(AttemptRow.id, AttemptRow.message).where(AttemptRow.id.in_([row[-1] for row in rows]))
        messages = {row.id: row.message for row in session.execute(shown)}
    order = list(WorkStage)
    counts = [FailureCount(*row[:-1], message=messages[row[-1]]) for row in rows]
    return sorted(counts, key=lambda count: (order.index(count.stage), count.scope, count.kind))


def _members(project: str) -> Select[str]:
    return select(ProjectVideoRow.video_key).where(
        ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED
    )
