"""Write a Lance table for each split with images. The tables contain the images, and training can read single rows.

Source: https://lance.org, whose library writes and reads the tables. The rows are defined in image_rows.py. The library
gives files random names, so two exports of one release differ in bytes, but never in rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.image_rows import row_of, row_schema, split_problems
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.export.shards import ShardedWriter

MAX_FRAGMENT_BYTES: Final = 64_000_000
"""A fragment is full when its images reach this size. The rows of a fragment are held in memory until it is full."""
_ROWS_AT_ONCE: Final = 32


def split_table(folder: Path, split: str) -> Path:
    """Return the path of a split's table inside an export."""
    return folder / "data" / f"{split}.lance"


def image_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the tables. `columns` are names from EXTRA_COLUMNS."""
    return pa.schema([pa.field("image", pa.binary(), nullable=False), *row_schema(columns)])


class LanceWriter(ShardedWriter):
    """Writes `data/<split>.lance` for every split with images: fragments first, then one version with all of them."""

    def __init__(
        self, folder: Path, release: Path, columns: Sequence[str] = (), *, max_shard_bytes: int = MAX_FRAGMENT_BYTES
    ) -> None:
        (folder / "data").mkdir()
        self._folder = folder
        self._schema = image_schema(columns)
        self._fragments: dict[str, list[Any]] = {}

        def open_shard(split: str, _number: int) -> _Fragment:
            fragments = self._fragments.setdefault(split, [])
            return _Fragment(split_table(folder, split), self._schema, columns, fragments)

        super().__init__(release, open_shard, max_shard_bytes)

    def close(self) -> None:
        """Finish the last fragments, and combine all fragments of each split into its table."""
        super().close()
        if self._fragments:
            from lance import LanceDataset, LanceOperation

            for split, fragments in self._fragments.items():
                LanceDataset.commit(split_table(self._folder, split), LanceOperation.Overwrite(self._schema, fragments))


class _Fragment:
    def __init__(self, table: Path, schema: pa.Schema, columns: Sequence[str], fragments: list[Any]) -> None:
        self._table = table
        self._schema = schema
        self._columns = columns
        self._fragments = fragments
        self._rows: list[dict[str, Any]] = []
        self._batches: list[pa.RecordBatch] = []  # as Arrow batches, which take a fraction of the memory of rows

    def add(self, image: ReleaseImage, content: bytes) -> None:
        self._rows.append({"image": content, **row_of(image, self._columns)})
        if len(self._rows) == _ROWS_AT_ONCE:
            self._pack()

    def close(self) -> None:
        from lance.fragment import LanceFragment

        self._pack()
        rows = pa.Table.from_batches(self._batches, self._schema)
        self._batches = []
        self._fragments.append(LanceFragment.create(self._table, rows))

    def _pack(self) -> None:
        if self._rows:
            self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def lance_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tables.

    Raises:
        ValueError: the columns of a table do not match the release.
    """
    wanted = {split_table(folder, split).name for split, number in expected.tally.images_by_split.items() if number}
    if (found := {path.name for path in (folder / "data").iterdir()}) != wanted:
        yield f"data: the tables are {sorted(found)}, expected {sorted(wanted)}"
        return
    schema = image_schema(expected.header.extra_columns)
    rows = {
        split: _rows(split_table(folder, split), schema) if number else iter(())
        for split, number in expected.tally.images_by_split.items()
    }
    yield from split_problems(rows, expected, expected.header.extra_columns)


def _rows(table: Path, schema: pa.Schema) -> Iterator[Mapping[str, Any]]:
    from lance import dataset

    opened = dataset(table)
    if opened.schema != schema:
        raise ValueError(f"the columns of {table.name} do not match the release")
    batches = opened.to_batches(batch_size=_ROWS_AT_ONCE, batch_readahead=1, fragment_readahead=1, scan_in_order=True)
    for batch in batches:
        yield from batch.to_pylist()


CODEC: Final = Codec(lambda to: LanceWriter(to.folder, to.release, to.header.extra_columns), (lance_problems,))
