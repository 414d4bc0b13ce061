"""Copy tables from one database to another for `data-miner migrate-to`, in portions within one transaction.

A copy is marked in the target, so that an unused copy can be distinguished from other data and replaced.

Belongs here: copying rows of any table. Does not belong here: choosing databases, and switching to a copy
(cli/moving.py, history/copying.py).
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, Integer, MetaData, func, insert, inspect, make_url, select, text
from sqlalchemy import Connection as _Connection
from sqlalchemy import Table as _Table
from sqlalchemy.schema import SetTableComment

from data_miner_dagster.catalog.database import Database, make_engine
from data_miner_dagster.catalog.schema import Base
from data_miner_dagster.catalog.work_tables import WorkBatchRow
from data_miner_dagster.domain.errors import CatalogError, ConfigError
from data_miner_dagster.domain.phrases import counted

_ROWS_A_PORTION: Final = 1000
_MARKED_TABLE: Final = "alembic_version"
"""The table whose comment stores the mark. It has existed since the first revision, and has no other comment."""
_DAGSTER_SCHEMA: Final = "dagster"

Connection = _Connection
"""An open transaction on one of the two databases."""
Table = _Table
"""A table of either database."""
Row = dict[str, Any]
Adapt = Callable[[Row], Row]
"""A function that converts a row to the form in which the target stores it."""


@dataclass(frozen=True, slots=True)
class CopyMark:
    """The mark of a copy: the attempt that created the copy, and the number of rows in each table at that time."""

    attempt: str
    num_rows: Mapping[str, int]


def catalog_tables() -> list[Table]:
    """Return all tables of the catalog, each after the tables that it refers to."""
    assert WorkBatchRow.metadata is Base.metadata  # importing WorkBatchRow adds the tables of planned work
    return list(Base.metadata.sorted_tables)


def count_rows(connection: Connection, tables: Collection[Table]) -> dict[str, int]:
    """Return the number of rows by table name. Tables that do not exist are omitted."""
    present = set(inspect(connection).get_table_names())
    return {
        table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
        for table in tables
        if table.name in present
    }


def copy_table(source: Connection, target: Connection, table: Table, *, adapt: Adapt | None = None) -> int:
    """Copy all rows of a table, converted by `adapt` unless it is None, and return their number.

    Only one portion is in memory at a time.
    """
    return insert_rows(target, table, map(adapt, read_rows(source, table)) if adapt else read_rows(source, table))


def read_rows(source: Connection, table: Table) -> Iterator[Row]:
    """Yield the rows of a table, sorted by its primary key. Consume them before the connection's transaction ends."""
    statement = select(table).order_by(*table.primary_key.columns)
    result = source.execute(statement, execution_options={"yield_per": _ROWS_A_PORTION})
    yield from (dict(row) for row in result.mappings())


def insert_rows(target: Connection, table: Table, rows: Iterable[Row]) -> int:
    """Insert rows in portions, and return their number."""
    num_rows = 0
    portion: list[Row] = []
    for row in rows:
        portion.append(row)
        if len(portion) == _ROWS_A_PORTION:
            target.execute(insert(table), portion)
            num_rows, portion = num_rows + len(portion), []
    if portion:
        target.execute(insert(table), portion)
    return num_rows + len(portion)


def finish_copy(target: Connection, tables: Sequence[Table], num_rows: Mapping[str, int], attempt: str) -> None:
    """Compare the row counts, advance the target's sequences past the copied ids, and mark the copy.

    Raises:
        CatalogError: a table's row count differs from the number of rows that were read.
    """
    found = count_rows(target, tables)
    if differing := {name: count for name, count in found.items() if count != num_rows[name]}:
        name = min(differing)
        raise CatalogError(
            f"table {name} has {counted(found[name], 'row')} although "
            f"{counted(num_rows[name], 'row was', 'rows were')} copied into it, so nothing was changed; run "
            "`data-miner migrate-to` again, with a database that no other program writes to"
        )
    for table in tables:
        column = table.autoincrement_column
        if column is None or not isinstance(column.type, Integer) or column.foreign_keys:
            continue
        sequence = func.pg_get_serial_sequence(target.dialect.identifier_preparer.format_table(table), column.name)
        last = select(func.max(column)).scalar_subquery()
        target.execute(select(func.setval(sequence, func.coalesce(last, 1), last.is_not(None))))
    mark = json.dumps({"attempt": attempt, "num_rows": dict(num_rows)})
    target.execute(SetTableComment(Table(_MARKED_TABLE, MetaData(), comment=mark)))


def copy_mark(target: Connection) -> CopyMark | None:
    """Return the mark of the copy in a database, or None if the database contains no marked copy."""
    if not inspect(target).has_table(_MARKED_TABLE):
        return None
    comment = inspect(target).get_table_comment(_MARKED_TABLE)["text"]
    try:
        content = json.loads(comment or "")
        return CopyMark(content["attempt"], content["num_rows"])
    except (ValueError, LookupError, TypeError):
        return None


def make_room(target: Connection, tables: Collection[Table], attempt: str) -> None:
    """Empty the tables of a target, provided that they contain nothing but an unused copy by the same `attempt`.

    Raises:
        ConfigError: the target contains other data.
    """
    found = {name: count for name, count in count_rows(target, tables).items() if count}
    if not found:
        return
    mark = copy_mark(target)
    is_unused = mark is not None and mark.attempt == attempt
    if not is_unused or found != {name: count for name, count in (mark.num_rows if mark else {}).items() if count}:
        some = ", ".join(f"{name} ({count})" for name, count in sorted(found.items())[:3])
        raise ConfigError(
            f"{target.engine.url.render_as_string(hide_password=True)} is not empty, since it has rows in {some}; use "
            "an empty database (nothing was changed)"
        )
    format_table = target.dialect.identifier_preparer.format_table
    target.execute(text(f"TRUNCATE {', '.join(format_table(table) for table in tables)}"))


def copy_catalog(source: Connection, target: Database, *, attempt: str) -> dict[str, int]:
    """Copy the catalog into another database whose tables exist, and return the number of rows by table.

    Args:
        source: an open transaction on the catalog in which no other process can write.
        target: the other database.
        attempt: the id of the attempt. An unused copy that the same attempt created earlier is replaced.

    Raises:
        ConfigError: the target contains other data.
        CatalogError: a table's row count differs from the number of rows that were read.
    """
    tables = catalog_tables()
    with target.engine.begin() as connection:
        make_room(connection, tables, attempt)
        num_rows = {table.name: copy_table(source, connection, table) for table in tables}
        finish_copy(connection, tables, num_rows, attempt)
    return num_rows


# --- addresses ---


def dagster_url_beside(catalog_url: str) -> str:
    """Return the URL of a separate schema for Dagster's storage in the catalog's PostgreSQL database.

    The catalog and Dagster's storage both have a table `alembic_version`, so one schema cannot hold both.
    """
    url = make_url(catalog_url)
    given = url.query.get("options", "")
    options = f"{given if isinstance(given, str) else ' '.join(given)} -csearch_path={_DAGSTER_SCHEMA}".strip()
    return _text(url.update_query_dict({"options": options}))


def create_dagster_schema(catalog_url: str) -> None:
    """Create the schema that `dagster_url_beside` names, if it is missing."""
    engine = make_engine(catalog_url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {_DAGSTER_SCHEMA}"))
    engine.dispose()


def without_password(url: str) -> tuple[str, bool]:
    """Return a URL without its password, and whether it contained a password."""
    parsed = make_url(url)
    has_any = bool(parsed.password or parsed.query.get("password"))
    public = URL.create(
        parsed.drivername,
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query={name: value for name, value in parsed.query.items() if name != "password"},
    )
    return _text(public), has_any


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
