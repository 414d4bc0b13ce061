"""Find and delete rows in Dagster's storage that contain a given string, on any database that Dagster supports.

Belongs here: operations that Dagster's own API does not offer. Does not belong here: operations that it offers, such as
those on runs, partitions and ticks (dagster_history.py).
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, inspect, or_

from data_miner_dagster.catalog.database import reclaim_space
from data_miner_dagster.operations.upkeep.traces import find_rows, rows_naming

if TYPE_CHECKING:
    import dagster as dg

_OF_DAGSTER: Final = frozenset({"runs", "asset_keys", "instigators", "jobs", "dynamic_partitions"})
"""Tables whose rows this module never deletes, because Dagster needs them or deletes them through its own API."""
_BACKFILLS: Final = "bulk_actions"
_A_STATEMENT: Final = 500


def find_dagster_rows(
    instance: "dg.DagsterInstance", needles: Collection[str], *, searched: Collection[Path] = ()
) -> Iterator[str]:
    """Yield the name of each table in Dagster's storage that has a row containing one of `needles`.

    SQLite files under the folders in `searched` are not read, because the caller has already searched all files there.
    """
    for connection in _databases(instance):
        file = _sqlite_file(connection)
        if file is None or not any(file.is_relative_to(folder) for folder in searched):
            yield from find_rows(connection, needles, sorted(_tables()))


def delete_dagster_rows(
    instance: "dg.DagsterInstance", needles: Collection[str], *, gone: Collection[str], kept: Collection[str]
) -> None:
    """Delete the rows of the runs in `gone`, and all other rows that contain one of `needles`.

    Rows of the runs in `kept`, the rows of active backfills, and all rows of the tables in `_OF_DAGSTER` are kept.
    """
    for connection in _databases(instance):
        present = set(inspect(connection).get_table_names())
        for name, table in sorted(_tables().items()):
            if name in present and name not in _OF_DAGSTER:
                _delete_from(connection, table, needles, gone=gone, kept=kept)


def reclaim_dagster_space(instance: "dg.DagsterInstance") -> None:
    """Rewrite the databases so that no data of deleted rows remains in them."""
    engines = [connection.engine for connection in _databases(instance)]
    for engine in engines:  # the connections above are closed only now
        reclaim_space(engine, sorted(_tables()))


def _tables() -> dict[str, Table]:
    """Return the tables that this version of Dagster defines, by name, whichever database contains them."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
    from dagster._core.storage.runs.schema import RunStorageSqlMetadata
    from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

    schemas = (RunStorageSqlMetadata, SqlEventLogStorageMetadata, ScheduleStorageSqlMetadata)
    return {table.name: table for schema in schemas for table in schema.tables.values()}


def _databases(instance: "dg.DagsterInstance") -> "Iterator[Connection]":
    """Yield a connection to each of Dagster's databases, and commit and close it before opening the next."""
    storages = cast("Any", (instance.run_storage, instance.event_log_storage, instance.schedule_storage))
    runs, events, schedules = storages
    seen: set[str] = set()
    for connect in (runs.connect, events.index_connection, schedules.connect):
        with connect() as connection:
            url = connection.engine.url.render_as_string(hide_password=False)
            if url not in seen:
                seen.add(url)
                yield connection


def _sqlite_file(connection: Connection) -> Path | None:
    url = connection.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database is not None
    return Path(str(url.database)).absolute() if is_file else None


def _delete_from(
    connection: Connection, table: Table, needles: Collection[str], *, gone: Collection[str], kept: Collection[str]
) -> None:
    from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES

    named = [row["id"] for row in rows_naming(connection, table.name, needles)]
    for start in range(0, len(named), _A_STATEMENT):
        condition: ColumnElement[bool] = table.c.id.in_(named[start : start + _A_STATEMENT])
        if "run_id" in table.c:
            condition = and_(condition, or_(table.c.run_id.is_(None), table.c.run_id.not_in(kept)))
        if table.name == _BACKFILLS:
            condition = and_(condition, table.c.status.in_([status.value for status in BULK_ACTION_TERMINAL_STATUSES]))
        connection.execute(delete(table).where(condition))
    runs = sorted(gone) if "run_id" in table.c else []
    for start in range(0, len(runs), _A_STATEMENT):
        connection.execute(delete(table).where(table.c.run_id.in_(runs[start : start + _A_STATEMENT])))
