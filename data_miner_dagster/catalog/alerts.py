"""Current alerts, and the messages that tell every target when an alert begins and ends.

A message is a row that is written in the same transaction as the change, so a crash loses no message. The row exists
until its target has accepted the message, but for at most a day. If a process dies after sending a message but before
recording that it was sent, the message is sent again.

Belongs here: rows. Does not belong here: the conditions for alerts (operations/alerting/conditions.py), and sending
messages.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, now_of
from data_miner_dagster.catalog.work_tables import AlertMessageRow, AlertRow
from data_miner_dagster.catalog.writers import Topic, lock_topic
from data_miner_dagster.domain.alerts import Trouble
from data_miner_dagster.domain.backoff import backoff_seconds

_IS_OVER: Final = " (resolved)"
_SENDING: Final = timedelta(seconds=180)
"""A message that was taken this long ago and still exists may be taken again: its process is assumed to be dead."""
_KEPT: Final = timedelta(days=1)
"""Messages older than this are discarded if their target has not accepted them."""


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """A message that this process has taken and will send."""

    id: int
    target: str  # the reference to the target's address
    title: str
    line: str
    is_over: bool  # whether the message announces the end of the alert
    num_tries: int  # attempts to send the message, including the one that follows


def settle_alerts(database: Database, found: Sequence[Trouble], targets: Collection[str]) -> list[str]:
    """Make the stored alerts match the troubles in `found`, and queue messages about the changes for all targets.

    An alert is sent once it has lasted for `Trouble.after`. The end of an alert is sent only if the alert itself was
    sent. Nothing is written unless an alert begins, ends or must be sent now, or its line has changed.

    Returns:
        The titles of the messages, each listed once, however many targets there are.
    """
    with database.reading() as session:
        known = {(row.kind, row.subject): row for row in session.scalars(select(AlertRow))}
        now = database.now(session)
    present = {(trouble.kind, trouble.subject) for trouble in found}
    if present == known.keys() and not any(_has_changed(known[t.kind, t.subject], t, now) for t in found):
        return []
    with database.transaction() as session:
        lock_topic(session, Topic.ALERTS)
        return _settle(session, found, sorted(set(targets)))


def _settle(session: Session, found: Sequence[Trouble], targets: Sequence[str]) -> list[str]:
    now = now_of(session)
    known = {(row.kind, row.subject): row for row in session.scalars(select(AlertRow))}
    told = []
    for trouble in found:
        row = known.pop((trouble.kind, trouble.subject), None)
        if row is None:
            since = min(trouble.since or now, now)
            row = AlertRow(kind=trouble.kind, subject=trouble.subject, line=trouble.line, since=since)
            session.add(row)
        row.line = trouble.line
        if _is_to_tell(row, trouble, now):
            row.told_at = now
            told.append(_say(session, row, targets, now, is_over=False))
    for row in known.values():
        if row.told_at is not None:
            told.append(_say(session, row, targets, now, is_over=True))
        session.delete(row)
    return told


def _has_changed(row: AlertRow, trouble: Trouble, now: datetime) -> bool:
    return row.line != trouble.line or _is_to_tell(row, trouble, now)


def _is_to_tell(row: AlertRow, trouble: Trouble, now: datetime) -> bool:
    return row.told_at is None and now - row.since >= trouble.after


def _say(session: Session, row: AlertRow, targets: Sequence[str], now: datetime, *, is_over: bool) -> str:
    title = row.kind.words(row.subject) + (_IS_OVER if is_over else "")
    for target in targets:
        message = AlertMessageRow(target=target, title=title, line=row.line, is_over=is_over)
        message.created_at = message.due_at = now
        session.add(message)
    return title


def take_message(database: Database, targets: Collection[str]) -> AlertMessage | None:
    """Reserve the oldest due message for this process for three minutes. Return None if no message is due.

    An undelivered message delays later ones about the same alert to the same target, since the end of an alert must not
    arrive before its beginning. Messages that are older than a day, or whose target is not one of `targets`, are
    deleted.
    """
    with database.reading() as session:
        if not session.scalar(select(func.count()).select_from(AlertMessageRow)):
            return None
    with database.transaction() as session:
        lock_topic(session, Topic.ALERTS)
        now = now_of(session)
        is_old = AlertMessageRow.created_at < now - _KEPT
        session.execute(delete(AlertMessageRow).where(is_old | AlertMessageRow.target.not_in(sorted(targets))))
        waiting = session.scalars(select(AlertMessageRow).order_by(AlertMessageRow.id)).all()
        first = {(row.target, row.title.removesuffix(_IS_OVER)): row for row in reversed(waiting)}
        row = next((row for row in waiting if row in first.values() and row.due_at <= now), None)
        if row is None:
            return None
        row.due_at, row.num_tries = now + _SENDING, row.num_tries + 1
        return AlertMessage(row.id, row.target, row.title, row.line, row.is_over, row.num_tries)


def end_message(database: Database, message: AlertMessage, *, is_sent: bool) -> None:
    """Delete a message if it was sent. Otherwise, make it due again after a back-off."""
    is_this = AlertMessageRow.id == message.id
    with database.transaction() as session:
        if is_sent:
            session.execute(delete(AlertMessageRow).where(is_this))
        else:
            due_at = now_of(session) + timedelta(seconds=backoff_seconds(message.num_tries))
            session.execute(update(AlertMessageRow).where(is_this).values(due_at=due_at))


def find_alerts(session: Session) -> list[AlertRow]:
    """Return all alerts, oldest first, including those that have not lasted long enough to be sent."""
    return list(session.scalars(select(AlertRow).order_by(AlertRow.since, AlertRow.kind, AlertRow.subject)))


def count_messages(session: Session) -> int:
    """Return the number of messages that their targets have not accepted yet."""
    return session.scalar(select(func.count()).select_from(AlertMessageRow)) or 0
