"""Write WebDataset's tar files of samples, which training reads as streams. A sample is an image and a JSON file.

Source: https://github.com/webdataset/webdataset, whose library writes the files and reads them back. The rows are
defined in image_rows.py.
"""

import glob
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa

from data_miner_dagster.export.card import add_card
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.image_rows import row_of, row_schema, split_problems
from data_miner_dagster.export.records import ReleaseImage, ReleaseTally
from data_miner_dagster.export.shards import ShardedWriter

MAX_SHARD_BYTES: Final = 500_000_000


def shard_files(folder: Path, split: str) -> list[Path]:
    """Return the paths of a split's shards inside an export, in image order."""
    return sorted((folder / "data").glob(f"{glob.escape(split)}-[0-9][0-9][0-9][0-9][0-9].tar"))


def sample_key(image: ReleaseImage) -> str:
    """Return the name of an image's sample, which is unique within a release.

    Readers treat everything after the first dot as the file type. A dot in a video's key becomes `~`, which no key
    contains.
    """
    return PurePosixPath(image.file_name).stem.replace(".", "~")


class WebDatasetWriter(ShardedWriter):
    """Writes `data/<split>-<shard>.tar`, in bounded memory. The same images yield the same bytes."""

    def __init__(
        self, folder: Path, release: Path, columns: Sequence[str] = (), *, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> None:
        (folder / "data").mkdir()

        def open_shard(split: str, number: int) -> _TarShard:
            return _TarShard(folder / "data" / f"{split}-{number:05d}.tar", columns)

        super().__init__(release, open_shard, max_shard_bytes)


class _TarShard:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        from webdataset import TarWriter

        self._file = path.open("wb")
        # PAX allows names of more than a hundred characters
        self._tar = TarWriter(self._file, encoder=False, mtime=0, format="PAX_FORMAT")
        self._columns = columns

    def add(self, image: ReleaseImage, content: bytes) -> None:
        row = json.dumps(row_of(image, self._columns), ensure_ascii=False, allow_nan=False)
        self._tar.write({"__key__": sample_key(image), image.extension: content, "json": row.encode()})

    def close(self) -> None:
        with self._file:
            self._tar.close()


def webdataset_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the shards, reading them with WebDataset's own reader."""
    files = {split: shard_files(folder, split) for split in expected.header.splits}
    yield from file_number_problems(folder / "data", sum(map(len, files.values())))
    rows = {split: chain.from_iterable(map(read_samples, paths)) for split, paths in files.items()}
    yield from split_problems(rows, expected, expected.header.extra_columns)


def read_samples(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a shard, each with its image's bytes.

    Raises:
        KeyError: a sample lacks its JSON file or its image.
        ValueError: the shard is damaged, or a sample's name does not match its image.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with path.open("rb") as stream:
        try:
            for sample in group_by_keys(tar_file_expander([{"url": path.name, "stream": stream}])):
                row = json.loads(sample["json"])
                name = PurePosixPath(row["file_name"])
                if sample["__key__"] != name.stem.replace(".", "~"):
                    raise ValueError(
                        f"the name of the sample {sample['__key__']} in {path.name} does not match its image {name}"
                    )
                yield row | {"image": sample[name.suffix.removeprefix(".")]}
        except tarfile.TarError as error:
            raise ValueError(f"{path.name} is damaged ({error})") from error


def hub_features(columns: Sequence[str], extensions: Iterable[str]) -> list[dict[str, Any]]:
    """Return the card's `features`, which describe the columns. Without them, `datasets` examines a few samples.

    Each of the images' `extensions` is a column, which is null where an image has another extension.
    """
    row = {"name": "json", "struct": [_feature(field) for field in row_schema(columns)]}
    images = [{"name": extension, "dtype": "image"} for extension in sorted(extensions)]
    return [*images, row, *({"name": n, "dtype": "string"} for n in ("__key__", "__url__"))]


def _feature(field: pa.Field) -> dict[str, Any]:
    """Describe a field for the card by its `dtype`, `struct` or `list`."""
    if pa.types.is_struct(field.type):
        return {"name": field.name, "struct": [_feature(inner) for inner in field.type]}
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": _in_list(field.type.value_type)}
    return {"name": field.name, "dtype": _scalar(field.type)}


def _in_list(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return [_feature(inner) for inner in kind]
    return {"list": _in_list(kind.value_type)} if pa.types.is_list(kind) else _scalar(kind)


def _scalar(kind: pa.DataType) -> str:
    return {"double": "float64"}.get(str(kind), str(kind))


def _add_card(to: Destination, tally: ReleaseTally) -> None:
    features = hub_features(to.header.extra_columns, tally.images_by_extension)
    add_card(to, tally, path_of="data/{split}-*.tar", features=features)


CODEC: Final = Codec(
    lambda to: WebDatasetWriter(to.folder, to.release, to.header.extra_columns),
    (webdataset_problems,),
    complete_export=_add_card,
)
