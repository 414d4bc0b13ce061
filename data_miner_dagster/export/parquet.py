"""Flat Parquet tables of a release, for pandas and its kin, and the lossless form every other format is made from.

`data/images.parquet` has one row per image, `data/boxes.parquet` one per box, `data/videos.parquet` one per video
that gave an image. `images/<split>/metadata.parquet` holds the same in the Hugging Face layout (huggingface.py).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage, ReleaseVideo

ROWS_PER_GROUP: Final = 10_000


def _not_null(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


IMAGES_SCHEMA: Final = pa.schema(
    [
        _not_null("image_id", pa.int64()),
        _not_null("file_name", pa.string()),  # below images/
        _not_null("split", pa.string()),
        _not_null("width", pa.int32()),
        _not_null("height", pa.int32()),
        _not_null("size_bytes", pa.int64()),
        _not_null("sha256", pa.string()),
        _not_null("frame_id", pa.string()),  # also the name of its duplicate group: it is the representative
        _not_null("video_key", pa.string()),
        _not_null("frame_index", pa.int32()),
        _not_null("video_url", pa.string()),
        _not_null("pts", pa.int64()),
        _not_null("time_base_numerator", pa.int64()),
        _not_null("time_base_denominator", pa.int64()),
        _not_null("pts_seconds", pa.float64()),
        _not_null("similarity", pa.float64()),  # to the prompt below
        _not_null("similar_prompt", pa.string()),
        _not_null("sharpness", pa.float64()),
        _not_null("num_duplicates", pa.int32()),
        _not_null("num_boxes", pa.int32()),
    ]
)
BOXES_SCHEMA: Final = pa.schema(
    [
        _not_null("image_id", pa.int64()),
        _not_null("file_name", pa.string()),
        _not_null("split", pa.string()),
        _not_null("frame_id", pa.string()),
        _not_null("video_key", pa.string()),
        _not_null("video_url", pa.string()),
        _not_null("pts_seconds", pa.float64()),
        _not_null("class_index", pa.int32()),
        _not_null("class_name", pa.string()),
        _not_null("confidence", pa.float64()),
        _not_null("x_min", pa.float64()),  # absolute pixels
        _not_null("y_min", pa.float64()),
        _not_null("x_max", pa.float64()),
        _not_null("y_max", pa.float64()),
        _not_null("prompt", pa.string()),
        _not_null("detector", pa.string()),
        _not_null("num_agreeing_detectors", pa.int32()),
    ]
)
VIDEOS_SCHEMA: Final = pa.schema(
    [
        _not_null("video_key", pa.string()),
        _not_null("split", pa.string()),
        _not_null("group", pa.string()),
        _not_null("url", pa.string()),
        pa.field("title", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("upload_date", pa.string()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("sha256", pa.string()),
        _not_null("source", pa.string()),
        _not_null("query", pa.string()),
        _not_null("num_frames", pa.int64()),
        _not_null("num_images", pa.int64()),
        _not_null("num_boxes", pa.int64()),
    ]
)


def images_table(folder: Path) -> Path:
    """Return the path of the images' table inside a release."""
    return folder / "data" / "images.parquet"


def boxes_table(folder: Path) -> Path:
    """Return the path of the boxes' table inside a release."""
    return folder / "data" / "boxes.parquet"


def videos_table(folder: Path) -> Path:
    """Return the path of the videos' table inside a release."""
    return folder / "data" / "videos.parquet"


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
        """Write what is left and finish the file; without rows it is an empty table."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


class ParquetWriter:
    """Writes `data/images.parquet` and `data/boxes.parquet`."""

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        (folder / "data").mkdir()
        self._images = RowWriter(images_table(folder), IMAGES_SCHEMA)
        self._boxes = RowWriter(boxes_table(folder), BOXES_SCHEMA)

    def add(self, image: ReleaseImage) -> None:
        """Write one image's row and those of its boxes."""
        row = {name: getattr(image, name) for name in IMAGES_SCHEMA.names if name != "num_boxes"}
        self._images.add(row | {"num_boxes": len(image.boxes)})
        for box in image.boxes:
            x_min, y_min, x_max, y_max = box.box_xyxy
            self._boxes.add(
                {name: row[name] for name in BOXES_SCHEMA.names if name in row}
                | {
                    "class_index": box.class_index,
                    "class_name": box.class_name,
                    "confidence": box.confidence,
                    "x_min": x_min,
                    "y_min": y_min,
                    "x_max": x_max,
                    "y_max": y_max,
                    "prompt": box.prompt,
                    "detector": box.detector,
                    "num_agreeing_detectors": box.num_agreeing_detectors,
                }
            )

    def close(self) -> None:
        """Finish both tables."""
        self._images.close()
        self._boxes.close()


def write_videos(folder: Path, videos: Sequence[ReleaseVideo]) -> None:
    """Write `data/videos.parquet`."""
    rows = [dataclasses.asdict(video) for video in videos]
    pq.write_table(pa.Table.from_pylist(rows, schema=VIDEOS_SCHEMA), videos_table(folder))


def read_videos(folder: Path) -> list[ReleaseVideo]:
    """Return the videos of a release, by key."""
    path = videos_table(folder)
    with _reading(path):
        return [ReleaseVideo(**row) for row in pq.ParquetFile(path).read().to_pylist()]


def read_images(folder: Path) -> Iterator[ReleaseImage]:
    """Yield the images of a release with their boxes, in order of `image_id`, in bounded memory."""
    boxes = _rows(boxes_table(folder))
    box = next(boxes, None)
    for row in _rows(images_table(folder)):
        own = []
        while box is not None and box["image_id"] == row["image_id"]:
            own.append(
                ReleaseBox(
                    class_index=box["class_index"],
                    class_name=box["class_name"],
                    box_xyxy=(box["x_min"], box["y_min"], box["x_max"], box["y_max"]),
                    confidence=box["confidence"],
                    prompt=box["prompt"],
                    detector=box["detector"],
                    num_agreeing_detectors=box["num_agreeing_detectors"],
                )
            )
            box = next(boxes, None)
        del row["num_boxes"]
        yield ReleaseImage(**row, boxes=tuple(own))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _reading(path):
        batches = pq.ParquetFile(path).iter_batches(batch_size=ROWS_PER_GROUP)
    while True:
        with _reading(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield from batch.to_pylist()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Let what Arrow says of a damaged table of a release be one line with what to do."""
    try:
        yield
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataMinerError(
            f"{path} is damaged ({str(error).splitlines()[0][:120]}); restore the release from a copy, or let "
            "`data-miner run --force` write it again"
        ) from error
