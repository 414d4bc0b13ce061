"""Read and write Parquet tables whose metadata contains a fingerprint of their inputs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.damage import reading

FINGERPRINT_KEY: Final = b"data_miner.fingerprint"
MADE_FROM_KEY: Final = "data_miner.made_from"
"""The metadata key for the fingerprint of the input table, in tables that are built from a single table."""
_ROWS_AT_ONCE: Final = 500
_ROWS_FOR_THREADS: Final = 20_000
FRAMES_KEY: Final = "frames"
"""The metadata key for a JSON object that maps the key of each video in the table to the fingerprint of its frames."""


def write_table(path: Path, table: pa.Table, *, fingerprint: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table atomically with its fingerprint in the Parquet metadata. The same rows yield the same bytes."""
    with table_writer(path, table.schema, fingerprint=fingerprint, metadata=metadata) as writer:
        writer.write_table(table)


@contextmanager
def table_writer(
    path: Path,
    schema: pa.Schema,
    *,
    fingerprint: str | None,
    metadata: Mapping[str, str] | None = None,
    dictionary_columns: Sequence[str] | None = None,
) -> Iterator[pq.ParquetWriter]:
    """Yield a writer for a table that is written in row groups. The file appears if the block ends without an error.

    `dictionary_columns` are the columns with few distinct values, which are dictionary-encoded. If it is None,
    dictionary encoding is tried for all columns, which is slow for tables with many numeric columns. If `fingerprint`
    is None, the block must call `add_fingerprint` after the last row.
    """
    extra = {key.encode(): value.encode() for key, value in sorted((metadata or {}).items())}
    known = {} if fingerprint is None else {FINGERPRINT_KEY: fingerprint.encode()}
    with (
        atomic_path(path) as partial,
        pq.ParquetWriter(
            partial,
            schema.with_metadata({**known, **extra}),
            use_dictionary=True if dictionary_columns is None else list(dictionary_columns),
            write_page_checksum=True,  # Snappy has no checksum: a flipped bit would change a number unnoticed
        ) as writer,
    ):
        yield writer


def add_fingerprint(writer: pq.ParquetWriter, fingerprint: str) -> None:
    """Set a table's fingerprint after its last row was written. Use this if the fingerprint depends on the rows."""
    writer.add_key_value_metadata({FINGERPRINT_KEY: fingerprint})


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """A table's fingerprint and number of rows, from its footer. `fingerprint` is None if the table stores none."""

    fingerprint: str | None
    num_rows: int


def read_identity(path: Path) -> TableIdentity | None:
    """Return a table's fingerprint and row count from its footer, or None if there is no readable table."""
    try:
        # The file is opened here, since passing its name to PyArrow costs as much again as reading the footer.
        with reading(path), pa.OSFile(str(path)) as file:
            footer = pq.ParquetFile(file).metadata
            metadata = _decoded(footer.metadata)
    except (FileNotFoundError, DamagedFileError):
        return None
    return TableIdentity(metadata.get(FINGERPRINT_KEY.decode()), footer.num_rows)


def _decoded(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items() if not key.startswith(b"ARROW:")}


def read_fingerprint(path: Path) -> str | None:
    """Return the fingerprint of the table at `path`, or None if it has none or there is no readable table."""
    return read_metadata(path).get(FINGERPRINT_KEY.decode())


def read_metadata(path: Path) -> dict[str, str]:
    """Return a table's own metadata, including the fingerprint, or an empty dict if there is no readable table."""
    try:
        with reading(path):
            return _decoded(pq.read_metadata(path).metadata)
    except (FileNotFoundError, DamagedFileError):
        return {}


def has_column(path: Path, name: str) -> bool:
    """Return whether a table has a column. Tables that earlier versions wrote lack later columns.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read.
    """
    with reading(path):
        return name in pq.read_schema(path).names


def has_values(path: Path, name: str) -> bool:
    """Return whether any row of a table has a value in a column, according to the footer.

    The result is False if the table lacks the column, and True if the footer has no statistics for it.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read.
    """
    with open_table(path) as file, reading(path):
        groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
        chunks = [group.column(column) for group in groups for column in range(group.num_columns)]
        own = [chunk for chunk in chunks if chunk.path_in_schema.partition(".")[0] == name]
        return any(chunk.statistics is None or chunk.statistics.null_count < chunk.num_values for chunk in own)


def open_table(path: Path) -> pq.ParquetFile:
    """Return an open table that verifies page checksums. Read it inside `damage.reading`.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read.
    """
    with reading(path):
        return pq.ParquetFile(path, page_checksum_verification=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a table, with all columns or the given ones.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read, or lacks a column.
    """
    with reading(path), open_table(path) as file:
        _check_columns(file, columns)
        return read_columns(file, columns)


def read_columns(file: pq.ParquetFile, columns: Sequence[str] | None) -> pa.Table:
    """Return the rows of an open table, with all columns or the given ones. Call this inside `damage.reading`.

    A small table is read in the calling thread: handing its columns to PyArrow's threads takes longer than reading.
    """
    return file.read(columns=None if columns is None else list(columns), use_threads=is_worth_threads(file))


def is_worth_threads(file: pq.ParquetFile) -> bool:
    """Return whether an open table is large enough to be read by several threads."""
    return bool(file.metadata.num_rows > _ROWS_FOR_THREADS)


def rows_with(path: Path, columns: Sequence[str], condition: pc.Expression) -> list[dict[str, Any]]:
    """Return the rows of the table at `path` that meet `condition`, or an empty list if the table does not exist.

    Each row is a dict with the given columns.

    Raises:
        DamagedFileError: the file cannot be read, or lacks a column.
    """
    try:
        with reading(path):
            return cast(
                "list[dict[str, Any]]", pq.read_table(path, columns=list(columns), filters=condition).to_pylist()
            )
    except FileNotFoundError:
        return []


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table in batches, in order.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read, or lacks a column.
    """
    with open_table(path) as file:
        with reading(path):
            _check_columns(file, columns)
        batches = file.iter_batches(columns=list(columns), use_threads=is_worth_threads(file))
        while True:
            with reading(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table one by one, in order, with the given columns.

    At most 500 rows exist as Python objects at a time.

    Raises:
        FileNotFoundError: the table does not exist.
        DamagedFileError: the file cannot be read, or lacks a column.
    """
    for batch in read_batches(path, columns):
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield from batch.slice(start, _ROWS_AT_ONCE).to_pylist()


def _check_columns(file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
    """Raise ValueError if a column is missing. `damage.reading` adds the table's path to the message."""
    missing = set(columns or ()) - set(file.schema_arrow.names)  # Arrow would silently ignore missing columns
    if missing:
        raise ValueError(f"required columns are missing: {', '.join(sorted(missing))}")


def with_later_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a stored table with the columns of `schema`, in that order, and without metadata.

    A nullable column that an earlier version did not write is filled with nulls.

    Raises:
        KeyError: a column that is not nullable is missing.
    """
    for field in schema:
        if field.name not in table.column_names:
            if not field.nullable:
                raise KeyError(f"the table lacks the column {field.name}; it has {', '.join(table.column_names)}")
            # Not `pa.nulls`: inside a struct, it produces nulls where the type forbids them, which Parquet rejects.
            table = table.append_column(field, pa.array([None] * table.num_rows, field.type))
    return table.select(schema.names).replace_schema_metadata(None)


def table_from_rows(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table with exactly `schema`. Absent keys become nulls.

    Raises:
        ValueError: a non-nullable column contains a null. Arrow itself notices this only when writing.
    """
    table = pa.Table.from_pylist(list(rows), schema=schema)
    for field in schema:
        num_nulls = table[field.name].null_count
        if num_nulls and not field.nullable:
            raise ValueError(
                f"the column {field.name} must not contain nulls, but has {counted(num_nulls, 'null')} in "
                f"{counted(table.num_rows, 'row')}"
            )
    return table
