"""Locks that make writers on PostgreSQL exclude each other, as write transactions on SQLite always do.

On PostgreSQL, each statement of a transaction sees everything that others have committed by then, and nothing excludes
concurrent writers. Therefore:

- A row that may already exist is inserted with `insert_absent`, and is only read afterwards.
- Data that decides a change is read under a lock. For statuses, claims and memberships, these are the locks on the
  videos' rows (`lock_videos`). Data without a row of its own is locked by topic (`lock_topic`).
- Locks are taken in a fixed order, so that no two writers wait for each other. The order is: topics, sites, videos,
  their dependent rows (memberships, pending work, attempts, suspects), projects. Rows of one table are locked in the
  order of their keys.

Does not belong here: the data itself.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy import Row, Table, select, text
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import Base, VideoRow

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Insert: TypeAlias = postgresql.Insert | sqlite.Insert


class Topic(IntEnum):
    """Decisions that need a lock but have no row to lock. The numbers are the keys of advisory locks."""

    CONTENT = 0x646D_6362
    """Decisions about which videos are identical."""
    FORGOTTEN = 0x646D_6363
    """Removals on request, after which nothing may add the removed subjects again."""
    BASES = 0x646D_6364
    """The bases that decide whether work is done (work_bases)."""
    ALERTS = 0x646D_6365
    """Alerts, and the messages about them."""


def is_postgresql(session: Session) -> bool:
    """Return whether a session's database is PostgreSQL, on which writers do not exclude each other."""
    return session.get_bind().dialect.name == "postgresql"


def lock_topic(session: Session, topic: Topic, *, is_shared: bool = False) -> None:
    """Lock a topic until this transaction ends. Other transactions that lock it wait, unless both locks are shared."""
    if is_postgresql(session):
        how = "pg_advisory_xact_lock_shared" if is_shared else "pg_advisory_xact_lock"
        session.execute(text(f"SELECT {how}(:number)"), {"number": int(topic)})


def lock_videos(session: Session, video_keys: Collection[str]) -> None:
    """Lock these videos and their memberships against other changes until this transaction ends.

    Later reads in this transaction see the last writer's changes. Keys of unknown videos are ignored.
    """
    if video_keys and is_postgresql(session):
        # One statement, since several would take the locks in no fixed order. FOR NO KEY UPDATE lets others refer to
        # the rows.
        query = select(VideoRow.key).where(VideoRow.key.in_(sorted(set(video_keys)))).order_by(VideoRow.key)
        session.execute(query.with_for_update(key_share=True)).all()


def insert_into(table: Table, dialect: str) -> "Insert":
    """Return an INSERT statement that can specify how to treat an existing row.

    Only the package for `dialect` is imported. SQLAlchemy's PostgreSQL package imports all its drivers, which takes
    longer than the work of a short command.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def insert_absent(
    session: Session, row: type[Base], values: Sequence[Mapping[str, Any]], *, returning: str
) -> Sequence[Row[Any]]:
    """Insert the rows that do not exist yet. Return one column of the rows that were inserted.

    This waits for rows that another transaction is inserting. Afterwards, every row exists.

    Args:
        session: the caller's transaction.
        row: the table.
        values: one mapping from column names to values per row. All rows must have the same columns and be sorted by
            the table's key.
        returning: the name of the column to return.
    """
    if not values:
        return []
    table = cast("Table", row.__table__)
    session.flush()
    insert = insert_into(table, session.get_bind().dialect.name)
    statement = insert.on_conflict_do_nothing().returning(table.c[returning])
    return session.execute(statement, [dict(columns) for columns in values]).all()
