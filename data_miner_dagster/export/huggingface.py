"""The Hugging Face layouts: `images/<split>/metadata.parquet` beside the images, and Parquet with images inside.

Source: https://huggingface.co/docs/datasets/image_dataset#object-detection. `file_name` is relative to the table.
"""

import glob
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.export.card import CardNotes, write_card
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, corners_of, file_number_problems, label_problems
from data_miner_dagster.export.licences import licences_of
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.parquet import read_videos
from data_miner_dagster.export.records import IMAGES_FOLDER, ReleaseImage, ReleaseTally
from data_miner_dagster.export.rows import RowWriter

METADATA_SCHEMA: Final = pa.schema(
    [
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field(
            "objects",
            pa.struct(
                [
                    pa.field("bbox", pa.list_(pa.list_(pa.float64()))),  # x, y, width, height in pixels
                    pa.field("category", pa.list_(pa.int64())),  # class id, from 0
                    pa.field("category_name", pa.list_(pa.string())),
                    pa.field("confidence", pa.list_(pa.float64())),
                ]
            ),
            nullable=False,
        ),
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("video_key", pa.string(), nullable=False),
        pa.field("video_url", pa.string(), nullable=False),
        pa.field("pts_seconds", pa.float64(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("similar_prompt", pa.string(), nullable=False),
    ]
)


def metadata_file(folder: Path, split: str) -> Path:
    """Return the path of a split's metadata inside a release."""
    return folder / IMAGES_FOLDER / split / "metadata.parquet"


class ImageFolderWriter:
    """Writes one `metadata.parquet` per split, except for splits without images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, RowWriter] = {}

    def add(self, image: ReleaseImage) -> None:
        """Write one image's row."""
        if image.split not in self._writers:
            path = metadata_file(self._folder, image.split)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[image.split] = RowWriter(path, METADATA_SCHEMA)
        self._writers[image.split].add(metadata_row(image))

    def close(self) -> None:
        """Finish every table."""
        for writer in self._writers.values():
            writer.close()


def metadata_row(image: ReleaseImage) -> dict[str, Any]:
    """Return an image's row of METADATA_SCHEMA."""
    return {
        "file_name": PurePosixPath(image.file_name).name,
        "image_id": image.image_id,
        "width": image.width,
        "height": image.height,
        "objects": objects_of(image),
        "frame_id": image.frame_id,
        "video_key": image.video_key,
        "video_url": image.video_url,
        "pts_seconds": image.pts_seconds,
        "similarity": image.similarity,
        "similar_prompt": image.similar_prompt,
    }


def objects_of(image: ReleaseImage) -> dict[str, list[object]]:
    """Return an image's labels as the struct of lists that the object-detection examples of `datasets` use."""
    labels = image.labels
    corners = [box.box_xyxy for box in labels]
    return {
        "bbox": [[x, y, round(x_max - x, 3), round(y_max - y, 3)] for x, y, x_max, y_max in corners],
        "category": [box.class_index for box in labels],
        "category_name": [box.class_name for box in labels],
        "confidence": [box.confidence for box in labels],
    }


_IMAGE_TYPE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
EMBEDDED_SCHEMA: Final = pa.schema(
    [
        pa.field("image", _IMAGE_TYPE),  # must be nullable, or `datasets` does not recognise it
        *(field for field in METADATA_SCHEMA if field.name != "file_name"),
    ],
    # tells `datasets` that the column contains images; it infers the other columns
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)
MAX_SHARD_BYTES: Final = 500_000_000
_ROWS_PER_GROUP: Final = 100  # images are large
_ROWS_AT_ONCE: Final = 100  # rows read at once from a table that may contain images


def shard_files(folder: Path, split: str) -> list[Path]:
    """Return a split's shards inside an export, in the order of their images."""
    return sorted((folder / "data").glob(f"{glob.escape(split)}-[0-9][0-9][0-9][0-9][0-9].parquet"))


class EmbeddedParquetWriter:
    """Writes `data/<split>-<shard>.parquet` with embedded images, the best layout for the hub's viewer."""

    def __init__(self, folder: Path, release: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
        self._folder = folder / "data"
        self._folder.mkdir()
        self._release = release
        self._max_shard_bytes = max_shard_bytes
        self._shards: dict[str, _Shard] = {}

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its labels, to a new shard if the split's last one is full."""
        shard = self._shards.get(image.split)
        if shard is None or shard.size_bytes >= self._max_shard_bytes:
            number = 0
            if shard is not None:
                shard.rows.close()
                number = shard.number + 1
            path = self._folder / f"{image.split}-{number:05d}.parquet"
            shard = _Shard(RowWriter(path, EMBEDDED_SCHEMA, rows_per_group=_ROWS_PER_GROUP), number)
            self._shards[image.split] = shard
        content = (self._release / image.path_in_release).read_bytes()
        row = metadata_row(image)
        name = row.pop("file_name")
        shard.rows.add({"image": {"bytes": content, "path": name}, **row})
        shard.size_bytes += len(content)

    def close(self) -> None:
        """Finish every shard."""
        for shard in self._shards.values():
            shard.rows.close()


@dataclass(slots=True)
class _Shard:
    rows: RowWriter
    number: int
    size_bytes: int = 0


def image_folder_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems of the tables beside the images: `images/<split>/metadata.parquet`."""
    files = {split: [metadata_file(folder, split)] for split in expected.header.splits}
    for split, number in expected.tally.images_by_split.items():
        if not number and files[split][0].exists():
            yield f"{split}/metadata.parquet: a split without images has none"
        files[split] = files[split] if number else []
    yield from _hub_problems(files, expected, lambda row: row["file_name"])


def embedded_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems of the shards with embedded images: `data/<split>-<shard>.parquet`."""
    files = {split: shard_files(folder, split) for split in expected.header.splits}
    yield from file_number_problems(folder / "data", sum(map(len, files.values())))
    yield from _hub_problems(files, expected, lambda row: row["image"]["path"])


def _hub_problems(
    files: Mapping[str, Sequence[Path]], expected: Expected, name_of: Callable[[Mapping[str, Any]], str]
) -> Iterator[str]:
    rows = {split: chain.from_iterable(map(_rows, paths)) for split, paths in files.items()}
    for image in expected.read_images():
        row = next(rows[image.split], None)
        if row is None:
            yield f"there is no row of {image.file_name}"
            continue
        found = (name_of(row), row["image_id"], row["width"], row["height"])
        wanted = (PurePosixPath(image.file_name).name, image.image_id, image.width, image.height)
        if found != wanted:
            yield f"{image.file_name}: its row is of {found}, expected {wanted}"
            continue
        if "image" in row and hashlib.sha256(row["image"]["bytes"]).hexdigest() != image.sha256:
            yield f"{image.file_name}: its bytes are not those of the image"
        objects = row["objects"]
        corners = [corners_of(*bbox) for bbox in objects["bbox"]]
        found_boxes = list(zip(objects["category"], corners, strict=True))
        yield from label_problems(image, image.labels, found_boxes, PIXEL_TOLERANCE)
        if objects["category_name"] != [box.class_name for box in image.labels]:
            yield f"{image.file_name}: classes {objects['category_name']} are not those of its boxes"
    yield from (f"{split}: there are more rows than images" for split in rows if next(rows[split], None) is not None)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def _add_card(to: Destination, tally: ReleaseTally) -> None:
    release = read_manifest(to.release) or {}
    notes = CardNotes(release.get("limits", ()), licences_of(read_videos(to.release)))
    write_card(to.folder, to.header, tally, notes, path_of="data/{split}-*.parquet")


IMAGE_FOLDER: Final = Codec(lambda to: ImageFolderWriter(to.folder), (image_folder_problems,))
EMBEDDED: Final = Codec(
    lambda to: EmbeddedParquetWriter(to.folder, to.release),
    (embedded_problems,),
    complete_export=_add_card,
)
