"""Write Hugging Face's layouts: `images/<split>/metadata.parquet` beside the images, and Parquet with embedded images.

Source: https://huggingface.co/docs/datasets/image_dataset#object-detection. `file_name` is relative to the table.
"""

import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.export.card import add_card
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.image_rows import row_of, row_schema, split_problems
from data_miner_dagster.export.records import IMAGES_FOLDER, MASK_COLUMN, ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.export.rows import RowWriter
from data_miner_dagster.export.shards import ShardedWriter


def metadata_file(folder: Path, split: str) -> Path:
    """Return the path of a split's metadata inside a release."""
    return folder / IMAGES_FOLDER / split / "metadata.parquet"


class ImageFolderWriter:
    """Writes a `metadata.parquet` for each split that has images."""

    def __init__(self, folder: Path, columns: Sequence[str] = ()) -> None:
        self._folder = folder
        self._columns = columns
        self._writers: dict[str, RowWriter] = {}

    def add(self, image: ReleaseImage) -> None:
        """Write one image's row."""
        if image.split not in self._writers:
            path = metadata_file(self._folder, image.split)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[image.split] = RowWriter(path, row_schema(self._columns))
        self._writers[image.split].add(row_of(image, self._columns))

    def close(self) -> None:
        """Finish every table."""
        for writer in self._writers.values():
            writer.close()


_IMAGE_TYPE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
MAX_SHARD_BYTES: Final = 500_000_000
_ROWS_PER_GROUP: Final = 100  # few rows, since images are large
_ROWS_AT_ONCE: Final = 100  # rows to read together from a table that may contain images


def embedded_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the shards with embedded images. `columns` are names from EXTRA_COLUMNS."""
    return pa.schema(
        [
            pa.field("image", _IMAGE_TYPE),  # must be nullable, or `datasets` does not recognize it
            *(field for field in row_schema(columns) if field.name != "file_name"),
        ],
        # tells `datasets` that the column contains images; it infers the other columns
        metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
    )


def shard_files(folder: Path, split: str) -> list[Path]:
    """Return the paths of a split's shards inside an export, in image order."""
    return sorted((folder / "data").glob(f"{glob.escape(split)}-[0-9][0-9][0-9][0-9][0-9].parquet"))


def is_shard(name: str) -> bool:
    """Return whether a path relative to an export has the form of a shard's path."""
    return re.fullmatch(r"data/[^/]+-[0-9]{5}\.parquet", name) is not None


class EmbeddedParquetWriter(ShardedWriter):
    """Writes `data/<split>-<shard>.parquet` with embedded images, the layout that suits the hub's viewer best."""

    def __init__(
        self,
        folder: Path,
        release: Path,
        columns: Sequence[str] = (),
        *,
        max_shard_bytes: int = MAX_SHARD_BYTES,
    ) -> None:
        (folder / "data").mkdir()
        schema = embedded_schema(columns)

        def open_shard(split: str, number: int) -> _ParquetShard:
            return _ParquetShard(folder / "data" / f"{split}-{number:05d}.parquet", schema, columns)

        super().__init__(release, open_shard, max_shard_bytes)


class _ParquetShard:
    def __init__(self, path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
        self._rows = RowWriter(path, schema, rows_per_group=_ROWS_PER_GROUP)
        self._columns = columns

    def add(self, image: ReleaseImage, content: bytes) -> None:
        row = row_of(image, self._columns)
        name = row.pop("file_name")
        self._rows.add({"image": {"bytes": content, "path": name}, **row})

    def close(self) -> None:
        self._rows.close()


def image_folder_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tables beside the images (`images/<split>/metadata.parquet`)."""
    files = {split: [metadata_file(folder, split)] for split in expected.header.splits}
    for split, number in expected.tally.images_by_split.items():
        if not number and files[split][0].exists():
            yield f"{split}/metadata.parquet: the file exists although the split has no images"
        files[split] = files[split] if number else []
    yield from _table_problems(files, expected, columns_beside(expected.header))


def embedded_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the shards that embed images (`data/<split>-<shard>.parquet`)."""
    files = {split: shard_files(folder, split) for split in expected.header.splits}
    yield from file_number_problems(folder / "data", sum(map(len, files.values())))
    yield from _table_problems(files, expected, expected.header.extra_columns)


def _table_problems(files: Mapping[str, Sequence[Path]], expected: Expected, columns: Sequence[str]) -> Iterator[str]:
    rows = {split: chain.from_iterable(map(_rows, paths)) for split, paths in files.items()}
    yield from split_problems(rows, expected, columns)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            for row in batch.to_pylist():
                if "image" in row:
                    row |= {"file_name": row["image"]["path"], "image": row["image"]["bytes"]}
                yield row


def _add_card(to: Destination, tally: ReleaseTally) -> None:
    add_card(to, tally, path_of="data/{split}-*.parquet")


def columns_beside(header: ReleaseHeader) -> tuple[str, ...]:
    """Return the extra columns, except masks, for the tables beside a release's images."""
    return tuple(name for name in header.extra_columns if name != MASK_COLUMN)


IMAGE_FOLDER: Final = Codec(
    lambda to: ImageFolderWriter(to.folder, columns_beside(to.header)), (image_folder_problems,)
)
EMBEDDED: Final = Codec(
    lambda to: EmbeddedParquetWriter(to.folder, to.release, to.header.extra_columns),
    (embedded_problems,),
    complete_export=_add_card,
)
