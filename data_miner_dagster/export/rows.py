"""Write and read the rows of a release's Parquet tables in groups, using bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DataMinerError

if TYPE_CHECKING:
    import pandas as pd

ROWS_PER_GROUP: Final = 10_000


class RowWriter:
    """Writes rows in groups of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema, *, rows_per_group: int = ROWS_PER_GROUP) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._rows_per_group = rows_per_group

    def add(self, row: dict[str, Any]) -> None:
        """Write one row, immediately or with the next full group."""
        self._rows.append(row)
        if len(self._rows) >= self._rows_per_group:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows and finish the file. If there are no rows, the table is empty."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def read_rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a release's table in bounded memory, with only `columns` if they are given.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    for batch in _batches(path, columns):
        yield from batch.to_pylist()


def read_columns(path: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield the values of some columns of a release's table, row by row, in bounded memory.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    for batch in _batches(path, columns):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def read_whole_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Return some columns of a release's table, which must fit into memory.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    with reading_table(path):
        return pq.read_table(path, columns=list(columns))


def read_frames(path: Path, *columns: str) -> "Iterator[pd.DataFrame]":
    """Yield some columns of a release's table as pandas data frames of at most `ROWS_PER_GROUP` rows.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    for batch in _batches(path, columns):
        with reading_table(path):
            frame = batch.to_pandas()
        yield frame


def read_rows_with(path: Path, column: str, value: object) -> list[dict[str, Any]]:
    """Return the rows of a release's table that have `value` in `column`. Memory holds only these rows and one batch.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    found: list[dict[str, Any]] = []
    for batch in _batches(path, None):
        with reading_table(path):
            found += batch.filter(pc.equal(batch[column], value)).to_pylist()
    return found


def _batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    names = None if columns is None else list(columns)
    with reading_table(path):
        file = pq.ParquetFile(path)
        is_large = file.metadata.num_rows > ROWS_PER_GROUP  # for a small table, threads cost more than they save
        batches = file.iter_batches(batch_size=ROWS_PER_GROUP, columns=names, use_threads=is_large)
    while True:
        with reading_table(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Translate Arrow's errors about a damaged table into one line with a remedy.

    Raises:
        DataMinerError: the table that the block reads is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise DataMinerError(
            f"{path} is damaged ({why}); restore the file from a backup or another copy, or write it again (for an "
            "export, repeat the export; for the current release of an unchanged project, run "
            "`data-miner run --config FILE --force`)"
        ) from error
