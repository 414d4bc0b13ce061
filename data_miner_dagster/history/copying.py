"""Copy Dagster's own storage (runs, events, partitions, ticks) from SQLite to PostgreSQL, for `data-miner migrate-to`.

On SQLite, each run has its own file, in which events are numbered from 1. An index repeats the events of assets, checks
and statuses with its own numbers, which other tables refer to. PostgreSQL has one table of all events. In this table,
the number of an index event is a multiple of its number in the index, so materializations keep their order. References
are multiplied by the same factor. The other events of a run get the numbers in between, in the order of the run's file.

Belongs here: copying rows. Does not belong here: deciding when to copy, and switching to the copy (cli/moving.py).
"""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, Final

from data_miner_dagster.catalog.copying import (
    Connection,
    Row,
    Table,
    copy_table,
    count_rows,
    finish_copy,
    insert_rows,
    make_room,
    read_rows,
)
from data_miner_dagster.catalog.database import make_engine, sqlite_url
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.dagster_home import dagster_history_files

_EVENTS: Final = "event_logs"
_OF_TARGET: Final = frozenset({"secondary_indexes"})
"""Tables that record the data migrations of a database. A newly created database needs none of these migrations."""
_ALSO_NEW: Final = frozenset({"secondary_indexes", "instance_info"})
"""Tables that already contain rows in a newly created database."""
_REFERENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "asset_event_tags": ("event_id",),
    "asset_check_executions": ("evaluation_event_storage_id", "materialization_event_storage_id"),
}
"""Columns that contain the number of an event in the index, by table."""


@dataclass(frozen=True, slots=True)
class DagsterFiles:
    """The SQLite files of an instance. `locked_dagster_files` locks the three shared files against other writers."""

    runs: Connection
    index: Connection
    schedules: Connection
    folder_of_runs: Path  # has one file of events for each run; these files are not locked

    def num_rows(self) -> dict[str, int]:
        """Return the number of rows by table, omitting tables that are not copied.

        Events are counted as PostgreSQL will store them. Tags of deleted runs count, although they are not copied.
        """
        counts: dict[str, int] = {}
        for connection, tables in self.tables():
            counts |= count_rows(connection, [table for table in tables if table.name not in _OF_TARGET])
        counts[_EVENTS] = sum(1 for run_id in self.run_ids() for _ in self.events_of(run_id, 1, 0))
        return counts

    def tables(self) -> list[tuple[Connection, list[Table]]]:
        """Return a (connection to the file, its tables) pair for each file.

        A table comes after the tables that it refers to.
        """
        from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
        from dagster._core.storage.runs.schema import RunStorageSqlMetadata
        from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata

        return [
            (self.runs, list(RunStorageSqlMetadata.sorted_tables)),
            (self.index, list(SqlEventLogStorageMetadata.sorted_tables)),
            (self.schedules, list(ScheduleStorageSqlMetadata.sorted_tables)),
        ]

    def run_ids(self) -> list[str]:
        """Return the ids of all runs in order of creation, then the sorted ids of unknown runs that have events.

        The id "" stands for events without a run.
        """
        from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
        from dagster._core.storage.runs.schema import RunsTable

        known = [row.run_id for row in self.runs.execute(RunsTable.select().order_by(RunsTable.c.id))]
        distinct = Events.select().with_only_columns(Events.c.run_id).distinct()
        in_index = {run_id for (run_id,) in self.index.execute(distinct)}
        on_disk = {path.name.removesuffix(".db") for path in self.folder_of_runs.glob("*.db")} - {"index"}
        others = sorted((in_index | on_disk | ({""} if self._file(".db").exists() else set())) - set(known))
        return [*known, *others]

    def longest_run(self) -> int:
        """Return the largest number of events in a run's file, or 0 if no run has a file."""
        from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

        most = 0
        for run_id in self.run_ids():
            with self._events_file(run_id) as connection:
                if connection is not None:
                    most = max(most, *count_rows(connection, [Events]).values(), 0)
        return most

    def events_of(self, run_id: str, spacing: int, after_all: int) -> Iterator[Row]:
        """Yield the rows of a run's events with their new numbers, in no particular order.

        Args:
            run_id: the run, or "" for events without a run.
            spacing: the factor by which the numbers of index events are multiplied. It must be more than twice the
                number of events in the longest run.
            after_all: the number of the run's last event if none of the run's events is in the index. It must be a
                multiple of `spacing` that no other run uses, and higher than the number of every index event.
        """
        from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

        of_run = Events.select().where(Events.c.run_id == run_id).order_by(Events.c.id)
        in_index = [dict(row) for row in self.index.execute(of_run).mappings()]
        numbers: dict[str, deque[int]] = {}
        for row in in_index:
            numbers.setdefault(row["event"], deque()).append(row["id"])
        waiting: list[Row] = []  # events since the previous event that is in the index
        last = None
        with self._events_file(run_id) as connection:
            for row in () if connection is None else read_rows(connection, Events):
                waiting.append(row)
                if same := numbers.get(row["event"]):
                    last = same.popleft()
                    yield from _numbered(waiting, last * spacing)
                    waiting = []
        if last is None:
            yield from _numbered(waiting, after_all)
        else:
            yield from _numbered(waiting, last * spacing + len(waiting))
        left = {number for some in numbers.values() for number in some}  # the file of the run is missing
        yield from ({**row, "id": row["id"] * spacing} for row in in_index if row["id"] in left)

    def _file(self, name: str) -> Path:
        return self.folder_of_runs / name

    @contextmanager
    def _events_file(self, run_id: str) -> Iterator[Connection | None]:
        file = self._file(f"{run_id}.db")
        if not file.exists():
            yield None
            return
        engine = make_engine(sqlite_url(file), is_read_only=True)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


def _numbered(events: list[Row], last: int) -> Iterator[Row]:
    first = last - len(events) + 1
    return ({**row, "id": first + place} for place, row in enumerate(events))


@contextmanager
def locked_dagster_files(home: Path) -> Iterator[DagsterFiles]:
    """Yield the SQLite files of the instance in `home`.

    Inside the block, no other process can write to the three files that all runs share.
    """
    history = home / "history"
    with ExitStack() as stack:
        connections = []
        for file in dagster_history_files(home):
            engine = make_engine(sqlite_url(file))
            stack.callback(engine.dispose)
            connections.append(stack.enter_context(engine.begin()))
        runs, index, schedules = connections
        yield DagsterFiles(runs, index, schedules, history / "runs")


def active_run_ids(files: DagsterFiles) -> list[str]:
    """Return the ids of the runs that have not ended, except queued ones, which can be moved to another database."""
    from dagster._core.storage.runs.schema import RunsTable

    from data_miner_dagster.runs import ACTIVE_STATUSES

    working = [status.value for status in ACTIVE_STATUSES if status.value != "QUEUED"]
    rows = files.runs.execute(RunsTable.select().where(RunsTable.c.status.in_(working)).order_by(RunsTable.c.id))
    return [row.run_id for row in rows]


def copy_dagster(files: DagsterFiles, url: str, *, attempt: str) -> dict[str, int]:
    """Copy the storage of an instance to the database at a PostgreSQL URL. Return the number of rows copied by table.

    The tables are created first. All rows are copied in one transaction.

    Args:
        files: the locked SQLite files of the instance.
        url: the URL of the target database.
        attempt: the id of the attempt. An unused copy that the same attempt created earlier is replaced.

    Raises:
        ConfigError: the target contains other data, or the storage belongs to another version of Dagster.
        CatalogError: a table's row count differs from the number of rows that were read.
    """
    from dagster_postgres.storage import DagsterPostgresStorage

    DagsterPostgresStorage(url)  # creates the tables
    engine = make_engine(url)
    try:
        with engine.begin() as target:
            _check_versions(files, target)
            tables = [
                (source, table) for source, some in files.tables() for table in some if table.name not in _OF_TARGET
            ]
            all_tables = [table for _, table in tables]
            make_room(target, [table for table in all_tables if table.name not in _ALSO_NEW], attempt)
            spacing = 2 * files.longest_run() + 2
            num_rows: dict[str, int] = {}
            for source, table in tables:
                if table.name in _ALSO_NEW:
                    target.execute(table.delete())
                if table.name == _EVENTS:
                    num_rows[_EVENTS] = insert_rows(target, table, _events(files, spacing))
                elif table.name == "run_tags":
                    num_rows[table.name] = insert_rows(target, table, _tags_of_runs(source, table))
                else:
                    num_rows[table.name] = copy_table(
                        source, target, table, adapt=partial(_adapted, table.name, spacing)
                    )
            finish_copy(target, all_tables, num_rows, attempt)
    finally:
        engine.dispose()
    return num_rows


def _events(files: DagsterFiles, spacing: int) -> Iterator[Row]:
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events

    ids = Events.select().with_only_columns(Events.c.id).order_by(Events.c.id.desc()).limit(1)
    last = files.index.execute(ids).scalar() or 0
    for place, run_id in enumerate(files.run_ids(), 1):
        for row in files.events_of(run_id, spacing, (last + place) * spacing):
            yield _in_utc(row)


def _tags_of_runs(source: Connection, table: Table) -> Iterator[Row]:
    """Return an iterator over the tags of existing runs. PostgreSQL would refuse the tags of deleted runs."""
    from dagster._core.storage.runs.schema import RunsTable

    known = {row.run_id for row in source.execute(RunsTable.select().with_only_columns(RunsTable.c.run_id))}
    return (row for row in read_rows(source, table) if row["run_id"] in known)


def _adapted(table: str, spacing: int, row: Row) -> Row:
    row = _in_utc(row)
    for column in _REFERENCES.get(table, ()):
        row[column] = row[column] and row[column] * spacing
    if table == "asset_keys":
        row["cached_status_data"] = None  # a cache that contains numbers of events; Dagster refills it
        row["last_materialization"] = _renumbered(row["last_materialization"], spacing)
    return row


def _renumbered(record: str | None, spacing: int) -> str | None:
    """Return a serialized event record with its number multiplied by `spacing`. Other content is returned unchanged."""
    from dagster import EventLogRecord, deserialize_value, serialize_value

    stored = None if record is None else deserialize_value(record)
    if not isinstance(stored, EventLogRecord):
        return record
    return serialize_value(EventLogRecord(stored.storage_id * spacing, stored.event_log_entry))


def _in_utc(row: Row) -> dict[str, Any]:
    """Return a row with its times marked as UTC, since SQLite stores them without a time zone."""
    return {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
        for name, value in row.items()
    }


def _check_versions(files: DagsterFiles, target: Connection) -> None:
    def revision(connection: Connection) -> str:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())

    def migrations(connection: Connection) -> set[str]:
        done = "SELECT name FROM secondary_indexes WHERE migration_completed IS NOT NULL"
        return {str(name) for (name,) in connection.exec_driver_sql(done)}

    sources = (files.runs, files.index, files.schedules)
    done = set[str]().union(*(migrations(source) for source in sources))
    if any(revision(source) != revision(target) for source in sources) or migrations(target) - done:
        home = quote(str(files.folder_of_runs.parent.parent))
        raise ConfigError(
            "Dagster's storage was written by another version of Dagster; update it with "
            f"`DAGSTER_HOME={home} dagster instance migrate`, and repeat the command"
        )
