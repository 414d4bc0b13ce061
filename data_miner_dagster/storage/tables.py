"""Parquet tables that know what they were made from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.damage import reading

FINGERPRINT_KEY: Final = b"data_miner.fingerprint"
MADE_FROM_KEY: Final = "data_miner.made_from"
"""Metadata key for the fingerprint of the table that the rows were made from, where a stage has one such table."""
FRAMES_KEY: Final = "frames"
"""Metadata key for a JSON object of video key to fingerprint: of which frames a table's rows speak."""


def write_table(path: Path, table: pa.Table, *, fingerprint: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table atomically with its fingerprint in the Parquet metadata. Same rows, same bytes."""
    with table_writer(path, table.schema, fingerprint=fingerprint, metadata=metadata) as writer:
        writer.write_table(table)


@contextmanager
def table_writer(
    path: Path,
    schema: pa.Schema,
    *,
    fingerprint: str,
    metadata: Mapping[str, str] | None = None,
    dictionary_columns: Sequence[str] | None = None,
) -> Iterator[pq.ParquetWriter]:
    """Yield a writer for a table that is streamed in row groups; the file appears when the block ends well.

    `dictionary_columns` are those with few distinct values, worth encoding as such; default: try all. Trying costs
    time where a table has many columns of numbers.
    """
    extra = {key.encode(): value.encode() for key, value in sorted((metadata or {}).items())}
    with (
        atomic_path(path) as partial,
        pq.ParquetWriter(
            partial,
            schema.with_metadata({FINGERPRINT_KEY: fingerprint.encode(), **extra}),
            use_dictionary=True if dictionary_columns is None else list(dictionary_columns),
            write_page_checksum=True,  # Snappy has none: a flipped bit would be another number
        ) as writer,
    ):
        yield writer


@dataclass(frozen=True, slots=True)
class TableIdentity:
    """What the footer of a table says of it, read without its rows."""

    fingerprint: str | None
    num_rows: int


def read_identity(path: Path) -> TableIdentity | None:
    """Return a table's fingerprint and row count from one look at its footer, None where there is no readable table."""
    try:
        # Not by name: resolving a file system by name costs as much again as reading the footer.
        with reading(path), pa.OSFile(str(path)) as file:
            footer = pq.ParquetFile(file).metadata
            metadata = _decoded(footer.metadata)
    except (FileNotFoundError, DamagedFileError):
        return None
    return TableIdentity(metadata.get(FINGERPRINT_KEY.decode()), footer.num_rows)


def _decoded(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items() if not key.startswith(b"ARROW:")}


def read_fingerprint(path: Path) -> str | None:
    """Return the fingerprint of the table at `path`, or None where there is no readable table."""
    return read_metadata(path).get(FINGERPRINT_KEY.decode())


def read_metadata(path: Path) -> dict[str, str]:
    """Return the table's own metadata (fingerprint included); empty where there is no readable table."""
    try:
        with reading(path):
            return _decoded(pq.read_schema(path).metadata)
    except (FileNotFoundError, DamagedFileError):
        return {}


def open_table(path: Path) -> pq.ParquetFile:
    """Return an open table, its pages to be compared with their checksums; read it inside `damage.reading`.

    Raises:
        FileNotFoundError: there is no such table.
        DamagedFileError: it cannot be read.
    """
    with reading(path):
        return pq.ParquetFile(path, page_checksum_verification=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows, all columns or those named.

    Raises:
        FileNotFoundError: there is no such table.
        DamagedFileError: it cannot be read.
    """
    with reading(path), open_table(path) as file:
        _check_columns(file, columns)
        return file.read(columns=list(columns) if columns is not None else None)


def read_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in batches, in order.

    Raises:
        FileNotFoundError: there is no such table.
        DamagedFileError: it cannot be read.
    """
    with open_table(path) as file:
        with reading(path):
            _check_columns(file, columns)
        batches = file.iter_batches(columns=list(columns))
        while True:
            with reading(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def _check_columns(file: pq.ParquetFile, columns: Sequence[str] | None) -> None:
    missing = set(columns or ()) - set(file.schema_arrow.names)  # Arrow leaves them out without a word
    if missing:
        raise KeyError(f"it has no column {', '.join(sorted(missing))}")


def table_from_rows(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table of exactly `schema`; an absent key is a null.

    Raises:
        ValueError: a column that must not be null has a null; Arrow itself finds that only when it writes.
    """
    table = pa.Table.from_pylist(list(rows), schema=schema)
    for field in schema:
        num_nulls = table[field.name].null_count
        if num_nulls and not field.nullable:
            raise ValueError(f"{num_nulls} of {table.num_rows} rows have no {field.name}")
    return table
