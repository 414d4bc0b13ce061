"""Rows of a release's Parquet tables: written in groups, read in batches, in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DataMinerError

ROWS_PER_GROUP: Final = 10_000


class RowWriter:
    """Writes rows in groups of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema, *, rows_per_group: int = ROWS_PER_GROUP) -> None:
        self._writer = pq.ParquetWriter(path, schema)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._rows_per_group = rows_per_group

    def add(self, row: dict[str, Any]) -> None:
        """Write one row, now or with the next full group."""
        self._rows.append(row)
        if len(self._rows) >= self._rows_per_group:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows and finish the file. Without any rows it is an empty table."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table of a release, in bounded memory.

    Raises:
        DataMinerError: the table is damaged.
    """
    with reading_table(path):
        batches = pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP)
    while True:
        with reading_table(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield from batch.to_pylist()


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Turn Arrow's errors about a damaged table into one line that says what to do."""
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataMinerError(
            f"{path} is damaged ({str(error).splitlines()[0][:120]}); restore the release from a copy, or let "
            "`data-miner run --force` write it again"
        ) from error
