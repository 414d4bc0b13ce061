"""Write a release's flat Parquet tables, for pandas and similar tools.

`data/images.parquet` has one row per image, `data/boxes.parquet` one per box, and `data/videos.parquet` one per video
with at least one image. All other formats can be written from these tables and the images.
`images/<split>/metadata.parquet` has most of the data in Hugging Face's layout (huggingface.py).
"""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.splits import splits_in
from data_miner_dagster.domain.tables import (
    MASK_TYPE,
    RECOVERED_FROM_COLUMN,
    TRACK_COLUMNS,
    VERDICT_COLUMN,
    not_null,
)
from data_miner_dagster.domain.tracks import sightings_as_rows, sightings_from
from data_miner_dagster.export.codec import Codec, Destination, Expected
from data_miner_dagster.export.records import (
    EXTRA_COLUMNS,
    MASK_COLUMN,
    ReleaseBox,
    ReleaseImage,
    ReleaseTally,
    ReleaseVideo,
)
from data_miner_dagster.export.rows import RowWriter, read_columns, read_frames, read_rows, reading_table
from data_miner_dagster.export.tracks import add_tracks, tracks_problems

IMAGES_SCHEMA: Final = pa.schema(
    [
        not_null("image_id", pa.int64()),
        not_null("file_name", pa.string()),  # below images/
        not_null("split", pa.string()),
        not_null("width", pa.int32()),
        not_null("height", pa.int32()),
        not_null("size_bytes", pa.int64()),
        not_null("sha256", pa.string()),
        not_null("frame_id", pa.string()),  # also the name of the duplicate group that it represents
        not_null("video_key", pa.string()),
        not_null("frame_index", pa.int32()),
        not_null("video_url", pa.string()),
        not_null("pts", pa.int64()),
        not_null("time_base_numerator", pa.int64()),
        not_null("time_base_denominator", pa.int64()),
        not_null("pts_seconds", pa.float64()),
        not_null("similarity", pa.float64()),  # to the prompt below
        not_null("similar_prompt", pa.string()),
        not_null("sharpness", pa.float64()),
        not_null("num_duplicates", pa.int32()),
        not_null("num_boxes", pa.int32()),  # without unsure ones
        not_null("num_unsure_boxes", pa.int32()),
    ]
)
BOXES_SCHEMA: Final = pa.schema(
    [
        not_null("image_id", pa.int64()),
        not_null("file_name", pa.string()),
        not_null("split", pa.string()),
        not_null("frame_id", pa.string()),
        not_null("video_key", pa.string()),
        not_null("video_url", pa.string()),
        not_null("pts_seconds", pa.float64()),
        not_null("class_index", pa.int32()),
        not_null("class_name", pa.string()),
        not_null("confidence", pa.float64()),
        not_null("x_min", pa.float64()),  # absolute pixels
        not_null("y_min", pa.float64()),
        not_null("x_max", pa.float64()),
        not_null("y_max", pa.float64()),
        not_null("prompt", pa.string()),
        not_null("detector", pa.string()),
        not_null("num_agreeing_detectors", pa.int32()),
        pa.field("verdict", pa.string()),  # a person's; null: not judged
        pa.field("answer_id", pa.string()),
        pa.field("confidence_calibrated", pa.float64()),  # null: no calibration
        not_null("is_unsure", pa.bool_()),  # not a label, but a region to ignore
    ]
)
EXTRA_FIELDS: Final = {
    MASK_COLUMN: pa.field(MASK_COLUMN, MASK_TYPE),
    VERDICT_COLUMN: pa.field(VERDICT_COLUMN, pa.string()),  # a verifier's; null: not queried, or no answer yet
    **{field.name: field for field in TRACK_COLUMNS},
}
VIDEOS_SCHEMA: Final = pa.schema(
    [
        not_null("video_key", pa.string()),
        not_null("split", pa.string()),
        not_null("group", pa.string()),
        not_null("url", pa.string()),
        pa.field("title", pa.string()),
        pa.field("channel", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("upload_date", pa.string()),
        pa.field("duration_seconds", pa.float64()),
        pa.field("sha256", pa.string()),
        not_null("source", pa.string()),
        not_null("query", pa.string()),
        not_null("num_frames", pa.int64()),
        not_null("num_images", pa.int64()),
        not_null("num_boxes", pa.int64()),
    ]
)

_COUNTS: Final = ("num_boxes", "num_unsure_boxes")
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")
_OF_A_BOX: Final = tuple(
    field.name
    for field in dataclasses.fields(ReleaseBox)
    if field.name not in ("box_xyxy", MASK_COLUMN, RECOVERED_FROM_COLUMN)
)
"""Columns of boxes that are fields of `ReleaseBox`. Releases of earlier versions lack some of the last ones."""
_CHECKED_OF_IMAGES: Final = ("image_id", "file_name", "split", "width", "height", *_COUNTS)
_CHECKED_OF_BOXES: Final = ("image_id", "file_name", "split", "class_index", "class_name", *_CORNERS, "is_unsure")


def images_table(folder: Path) -> Path:
    """Return the path of the table of images inside a release."""
    return folder / "data" / "images.parquet"


def boxes_table(folder: Path) -> Path:
    """Return the path of the table of boxes inside a release."""
    return folder / "data" / "boxes.parquet"


def extra_columns_of(folder: Path) -> tuple[str, ...]:
    """Return the names in EXTRA_COLUMNS that are columns of a release's table of boxes.

    Raises:
        DataMinerError: the table is damaged.
    """
    with reading_table(boxes_table(folder)):
        names = pq.read_schema(boxes_table(folder)).names
    return tuple(name for name in EXTRA_COLUMNS if name in names)


def videos_table(folder: Path) -> Path:
    """Return the path of the table of videos inside a release."""
    return folder / "data" / "videos.parquet"


class ParquetWriter:
    """Writes `data/images.parquet` and `data/boxes.parquet`. The table of boxes also has `extra_columns`."""

    def __init__(self, folder: Path, extra_columns: Sequence[str] = ()) -> None:
        (folder / "data").mkdir()
        self._images = RowWriter(images_table(folder), IMAGES_SCHEMA)
        schema = pa.schema([*BOXES_SCHEMA, *(EXTRA_FIELDS[name] for name in extra_columns)])
        self._boxes = RowWriter(boxes_table(folder), schema)

    def add(self, image: ReleaseImage) -> None:
        """Write the rows of one image and its boxes."""
        row = {name: getattr(image, name) for name in IMAGES_SCHEMA.names if name not in _COUNTS}
        num_boxes = len(image.labels)
        self._images.add(row | {"num_boxes": num_boxes, "num_unsure_boxes": len(image.boxes) - num_boxes})
        of_image = {name: row[name] for name in BOXES_SCHEMA.names if name in row}
        for box in image.boxes:
            corners = dict(zip(_CORNERS, box.box_xyxy, strict=True))
            mask = {MASK_COLUMN: box.mask.as_coco()} if box.mask is not None else {}
            seen = {RECOVERED_FROM_COLUMN: sightings_as_rows(box.recovered_from)}
            self._boxes.add(of_image | {name: getattr(box, name) for name in _OF_A_BOX} | corners | mask | seen)

    def close(self) -> None:
        """Finish both tables."""
        self._images.close()
        self._boxes.close()


def write_videos(folder: Path, videos: Sequence[ReleaseVideo]) -> None:
    """Write `data/videos.parquet`. The videos must be sorted by key."""
    rows = [dataclasses.asdict(video) for video in videos]
    pq.write_table(pa.Table.from_pylist(rows, schema=VIDEOS_SCHEMA), videos_table(folder))


def read_videos(folder: Path) -> list[ReleaseVideo]:
    """Return the videos of a release, ordered by key.

    Raises:
        DataMinerError: the table is damaged.
        OSError: the table is missing, or the operating system cannot read it.
    """
    path = videos_table(folder)
    with reading_table(path):
        return [ReleaseVideo(**row) for row in pq.ParquetFile(path).read().to_pylist()]


def read_images(folder: Path) -> Iterator[ReleaseImage]:
    """Yield the images of a release with their boxes, in order of `image_id`, in bounded memory.

    Raises:
        DataMinerError: a table is damaged.
        OSError: a table is missing, or the operating system cannot read it.
    """
    boxes = read_rows(boxes_table(folder))
    box = next(boxes, None)
    for row in read_rows(images_table(folder)):
        own = []
        while box is not None and box["image_id"] == row["image_id"]:
            own.append(box_from(box))
            box = next(boxes, None)
        yield image_from(row, own)


def image_from(row: Mapping[str, Any], boxes: Iterable[ReleaseBox]) -> ReleaseImage:
    """Build an image from its row in the table of images and its boxes."""
    return ReleaseImage(**{name: row[name] for name in row if name not in _COUNTS}, boxes=tuple(boxes))


def box_from(row: Mapping[str, Any]) -> ReleaseBox:
    """Build a box from its row in the table of boxes."""
    corners = (row["x_min"], row["y_min"], row["x_max"], row["y_max"])
    mask = Mask.from_coco(row[MASK_COLUMN]) if row.get(MASK_COLUMN) else None
    seen = sightings_from(row.get(RECOVERED_FROM_COLUMN))
    plain = {name: row[name] for name in _OF_A_BOX if name in row}
    return ReleaseBox(box_xyxy=corners, mask=mask, recovered_from=seen, **plain)


def parquet_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tables of images and boxes, including contradictions between them.

    One row group of each table is held in memory at a time. Counts are computed with pandas, as users would compute
    them.
    """
    yield from _count_problems(folder, expected.tally)
    wrong = Counter[str]()
    try:
        for image, boxes in _images_and_boxes(folder):
            wrong.update(_contradictions(image, boxes, expected.header.class_names))
    except _OrderError:
        yield "data: image ids are not unique or not in order, or boxes refer to images that do not exist"
        return
    yield from (f"data: {what}: {wrong[what]}" for what in _CONTRADICTIONS if wrong[what])


def _count_problems(folder: Path, tally: ReleaseTally) -> Iterator[str]:
    images, boxes = images_table(folder), boxes_table(folder)
    by_split, num_boxes_said = Counter[Any](), 0
    for frame in read_frames(images, "split", "num_boxes"):
        by_split.update(frame["split"].value_counts().to_dict())
        num_boxes_said += int(frame["num_boxes"].sum())
    num_images = by_split.total()
    num_unsure = 0
    boxes_by = {name: Counter[Any]() for name in ("split", "class_name", "verdict")}
    for frame in read_frames(boxes, "is_unsure", *boxes_by):
        sure = frame[~frame["is_unsure"]]
        num_unsure += len(frame) - len(sure)
        for name, counts in boxes_by.items():
            counts.update(sure[name].value_counts().to_dict())
    num_boxes = boxes_by["split"].total()
    if (num_images, num_boxes, num_boxes_said) != (tally.num_images, tally.num_boxes, tally.num_boxes):
        said = "" if num_boxes_said == num_boxes else f" (but images.parquet states {num_boxes_said:,})"
        yield (
            f"data: {counted(num_images, 'image')}, {counted(num_boxes, 'box', 'boxes')}{said}, expected "
            f"{tally.num_images}, {tally.num_boxes}"
        )
    if num_unsure != tally.num_unsure_boxes:
        yield f"data: {counted(num_unsure, 'unsure box', 'unsure boxes')}, expected {tally.num_unsure_boxes}"
    for what, name, seen, wanted in (
        ("images", "split", by_split, tally.images_by_split),
        ("boxes", "split", boxes_by["split"], tally.boxes_by_split),
        ("boxes", "class_name", boxes_by["class_name"], tally.boxes_by_class),
        ("boxes", "verdict", boxes_by["verdict"], tally.boxes_by_verdict),
    ):
        found = dict.fromkeys(wanted, 0) | dict(seen)
        if found != wanted:
            yield f"data: {what} by {name}: {found}, expected {wanted}"


class _OrderError(Exception):
    """Raised if the rows of the two tables cannot be matched."""


_Row = Mapping[str, Any]


def _images_and_boxes(folder: Path) -> Iterator[tuple[_Row, Sequence[_Row]]]:
    """Yield each image's row with the rows of its boxes, including unsure ones.

    Raises:
        _OrderError: the image ids do not increase, or a box belongs to no image or to an earlier one.
    """
    boxes = read_rows(boxes_table(folder), _CHECKED_OF_BOXES)
    box, last_id = next(boxes, None), None
    for image in read_rows(images_table(folder), _CHECKED_OF_IMAGES):
        if last_id is not None and image["image_id"] <= last_id:
            raise _OrderError
        last_id, own = image["image_id"], []
        while box is not None and box["image_id"] == last_id:
            own.append(box)
            box = next(boxes, None)
        yield image, own
    if box is not None:
        raise _OrderError


_CONTRADICTIONS: Final = (
    _OTHER_FOLDER := "images in the folder of another split",
    _OTHER_NUMBER := "images that do not have the stated number of boxes",
    _OTHER_IMAGE := "boxes whose file or split differs from that of their image",
    _OUTSIDE := "boxes that are empty or lie outside their image",
    _OTHER_CLASS := "boxes whose class name and class index do not match",
)


def _contradictions(image: _Row, boxes: Sequence[_Row], class_names: Sequence[str]) -> Iterator[str]:
    if image["file_name"].partition("/")[0] != image["split"]:
        yield _OTHER_FOLDER
    num_unsure = sum(box["is_unsure"] for box in boxes)
    if (len(boxes) - num_unsure, num_unsure) != (image["num_boxes"], image["num_unsure_boxes"]):
        yield _OTHER_NUMBER
    for box in boxes:
        if (box["file_name"], box["split"]) != (image["file_name"], image["split"]):
            yield _OTHER_IMAGE
        x_min, y_min, x_max, y_max = (box[name] for name in _CORNERS)
        if not (0 <= x_min < x_max <= image["width"] and 0 <= y_min < y_max <= image["height"]):  # false if one is NaN
            yield _OUTSIDE
        index = box["class_index"]
        if not 0 <= index < len(class_names) or class_names[index] != box["class_name"]:
            yield _OTHER_CLASS


def videos_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the table of videos, given the expected counts and the splits of the images.

    Only the first video with wrong counts is named.
    """
    tally = expected.tally
    videos = read_videos(folder)
    found = {video.video_key: (video.num_images, video.num_boxes) for video in videos}
    wanted = {key: (number, tally.boxes_by_video[key]) for key, number in tally.images_by_video.items()}
    if len(found) != len(videos):
        yield "data: videos.parquet has a video twice"
    for key in sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))[:1]:
        if key not in found:
            yield f"data: videos.parquet lacks {key}, which has images"
        elif key not in wanted:
            yield f"data: videos.parquet has {key}, which has no images"
        else:
            yield f"data: videos.parquet states {_content(*found[key])} for {key}, expected {_content(*wanted[key])}"
    splits = {video.video_key: splits_in(video.split) for video in videos}
    if any(split not in splits.get(key, ()) for key, split in read_columns(images_table(folder), "video_key", "split")):
        yield "data: videos.parquet has videos whose split differs from that of their images"


def _content(num_images: int, num_boxes: int) -> str:
    return f"{counted(num_images, 'image')} and {counted(num_boxes, 'box', 'boxes')}"


def same_tables_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield a line for the first image that differs between the tables and the release."""
    for found, image in zip_longest(read_images(folder), expected.read_images()):
        if found != image:
            yield f"data: {(found or image).file_name} differs from the release"
            return


def add_videos(to: Destination, tally: ReleaseTally) -> None:
    """Add the exported videos and their tracks to an export, with counts of the exported images and boxes.

    Raises:
        DataMinerError: a table of the release is damaged.
    """
    videos = read_videos(to.release)
    exported = [
        dataclasses.replace(video, num_images=number, num_boxes=tally.boxes_by_video[video.video_key])
        for video in videos
        if (number := tally.images_by_video.get(video.video_key))
    ]
    if exported == videos:
        shutil.copyfile(videos_table(to.release), videos_table(to.folder))
    else:
        write_videos(to.folder, exported)
    add_tracks(to, tally)


CODEC: Final = Codec(
    lambda to: ParquetWriter(to.folder, to.header.extra_columns),
    (parquet_problems, videos_problems, tracks_problems),
    export_verifiers=(same_tables_problems,),
    complete_export=add_videos,
)
