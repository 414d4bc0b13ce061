"""Flat Parquet tables of a release, for pandas and similar tools. Every other format is made from this lossless form.

`data/images.parquet` has one row per image, `data/boxes.parquet` one per box, and `data/videos.parquet` one per video
with at least one image. `images/<split>/metadata.parquet` has the same data in the Hugging Face layout
(huggingface.py).
"""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path, PurePath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_miner_dagster.domain.masks import Mask
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
from data_miner_dagster.export.rows import RowWriter, read_rows, reading_table
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
        not_null("frame_id", pa.string()),  # also the name of its duplicate group, whose representative it is
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
        pa.field("verdict", pa.string()),  # of a person; null: not judged
        pa.field("answer_id", pa.string()),
        pa.field("confidence_calibrated", pa.float64()),  # null: no calibration
        not_null("is_unsure", pa.bool_()),  # no label: a region to ignore
    ]
)
EXTRA_FIELDS: Final = {
    MASK_COLUMN: pa.field(MASK_COLUMN, MASK_TYPE),
    VERDICT_COLUMN: pa.field(VERDICT_COLUMN, pa.string()),  # of a verifier; null: not asked, or no answer yet
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
"""Columns of boxes that are fields of `ReleaseBox`. Releases of earlier versions lack the last ones."""


def images_table(folder: Path) -> Path:
    """Return the path of the images' table inside a release."""
    return folder / "data" / "images.parquet"


def boxes_table(folder: Path) -> Path:
    """Return the path of the boxes' table inside a release."""
    return folder / "data" / "boxes.parquet"


def extra_columns_of(folder: Path) -> tuple[str, ...]:
    """Return the columns of EXTRA_COLUMNS that a release's table of boxes has."""
    with reading_table(boxes_table(folder)):
        names = pq.read_schema(boxes_table(folder)).names
    return tuple(name for name in EXTRA_COLUMNS if name in names)


def videos_table(folder: Path) -> Path:
    """Return the path of the videos' table inside a release."""
    return folder / "data" / "videos.parquet"


class ParquetWriter:
    """Writes `data/images.parquet` and `data/boxes.parquet`, the latter with the given columns of EXTRA_COLUMNS."""

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
    """Write `data/videos.parquet`."""
    rows = [dataclasses.asdict(video) for video in videos]
    pq.write_table(pa.Table.from_pylist(rows, schema=VIDEOS_SCHEMA), videos_table(folder))


def read_videos(folder: Path) -> list[ReleaseVideo]:
    """Return the videos of a release, ordered by key."""
    path = videos_table(folder)
    with reading_table(path):
        return [ReleaseVideo(**row) for row in pq.ParquetFile(path).read().to_pylist()]


def read_images(folder: Path) -> Iterator[ReleaseImage]:
    """Yield the images of a release with their boxes, in order of `image_id`, in bounded memory."""
    boxes = read_rows(boxes_table(folder))
    box = next(boxes, None)
    for row in read_rows(images_table(folder)):
        own = []
        while box is not None and box["image_id"] == row["image_id"]:
            own.append(_box(box))
            box = next(boxes, None)
        yield _image(row, own)


def find_image(folder: Path, image_id: int) -> tuple[ReleaseImage, tuple[int, ...]] | None:
    """Return an image of a release with its boxes, and their ids in COCO; None if there is no such image."""
    rows = _rows_where(images_table(folder), pc.field("image_id") == image_id)
    if not rows:
        return None
    boxes = _rows_where(boxes_table(folder), pc.field("image_id") == image_id)
    first = pc.index(_column(boxes_table(folder), "image_id"), image_id).as_py() + 1
    return _image(rows[0], [_box(box) for box in boxes]), tuple(range(first, first + len(boxes)))


def find_image_id(folder: Path, name: str) -> int | None:
    """Return the id of the image with this frame id, or with a file of this name: its own, or its label file."""
    with reading_table(images_table(folder)):
        table = pq.read_table(images_table(folder), columns=["image_id", "file_name", "frame_id"])
    row = pc.index(table["frame_id"], name).as_py()
    if row < 0:
        stem = PurePath(name).name.removesuffix(".jpg").removesuffix(".txt")
        row = pc.index(pc.match_like(table["file_name"], f"%/{_escaped(stem)}.jpg"), True).as_py()
    return None if row < 0 else int(table["image_id"][row].as_py())


def image_id_of_box(folder: Path, annotation_id: int) -> int | None:
    """Return the id of the image that has a box, by the id that the box has in COCO: its place in the table, from 1."""
    owners = _column(boxes_table(folder), "image_id")
    return int(owners[annotation_id - 1].as_py()) if 1 <= annotation_id <= len(owners) else None


def _image(row: Mapping[str, Any], boxes: Iterable[ReleaseBox]) -> ReleaseImage:
    return ReleaseImage(**{name: row[name] for name in row if name not in _COUNTS}, boxes=tuple(boxes))


def _box(row: Mapping[str, Any]) -> ReleaseBox:
    corners = (row["x_min"], row["y_min"], row["x_max"], row["y_max"])
    mask = Mask.from_coco(row[MASK_COLUMN]) if row.get(MASK_COLUMN) else None
    seen = sightings_from(row.get(RECOVERED_FROM_COLUMN))
    plain = {name: row[name] for name in _OF_A_BOX if name in row}
    return ReleaseBox(box_xyxy=corners, mask=mask, recovered_from=seen, **plain)


def _rows_where(path: Path, condition: pc.Expression) -> list[dict[str, Any]]:
    with reading_table(path):
        rows: list[dict[str, Any]] = pq.read_table(path, filters=condition).to_pylist()
        return rows


def _column(path: Path, name: str) -> pa.ChunkedArray:
    with reading_table(path):
        return pq.read_table(path, columns=[name])[name]


def _escaped(text: str) -> str:
    """Return text as SQL's LIKE takes it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def parquet_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems of the tables of images and boxes, including contradictions between them."""
    import pandas as pd

    header, tally = expected.header, expected.tally
    images = pd.read_parquet(
        images_table(folder), columns=["image_id", "file_name", "split", "width", "height", *_COUNTS]
    )
    all_boxes = pd.read_parquet(
        boxes_table(folder),
        columns=["image_id", "file_name", "split", "class_index", "class_name", *_CORNERS, "verdict", "is_unsure"],
    )
    boxes = all_boxes[~all_boxes["is_unsure"]]
    found = (len(images), len(boxes), int(images["num_boxes"].sum()))
    if found != (tally.num_images, tally.num_boxes, tally.num_boxes):
        yield f"data: {found[0]} images, {found[1]} boxes, expected {tally.num_images}, {tally.num_boxes}"
    if len(all_boxes) - len(boxes) != tally.num_unsure_boxes:
        yield f"data: {len(all_boxes) - len(boxes)} unsure boxes, expected {tally.num_unsure_boxes}"
    for what, column, wanted in (
        ("images", images["split"], tally.images_by_split),
        ("boxes", boxes["split"], tally.boxes_by_split),
        ("boxes", boxes["class_name"], tally.boxes_by_class),
        ("boxes", boxes["verdict"], tally.boxes_by_verdict),
    ):
        counts = dict.fromkeys(wanted, 0) | column.value_counts().to_dict()
        if counts != wanted:
            yield f"data: {what} by {column.name}: {counts}, expected {wanted}"
    is_ordered = images["image_id"].is_monotonic_increasing and all_boxes["image_id"].is_monotonic_increasing
    if not images["image_id"].is_unique or not all_boxes["image_id"].isin(images["image_id"]).all() or not is_ordered:
        yield "data: image ids are not unique or not in order, or boxes name images that are not there"
        return
    both = all_boxes.merge(images, on="image_id", suffixes=("", "_of_image"))
    numbers, all_numbers = (
        table["image_id"].value_counts().reindex(images["image_id"], fill_value=0).to_numpy()
        for table in (boxes, all_boxes)
    )
    is_inside = (both["x_min"] >= 0) & (both["y_min"] >= 0) & (both["x_max"] <= both["width"])
    is_inside &= (both["y_max"] <= both["height"]) & (both["x_min"] < both["x_max"]) & (both["y_min"] < both["y_max"])
    names = all_boxes["class_index"].map(dict(enumerate(header.class_names)))
    wrong = {
        "images lie in the folder of another split": images["file_name"].str.partition("/")[0] != images["split"],
        "images have another number of boxes": (numbers != images["num_boxes"].to_numpy())
        | (all_numbers != (images["num_boxes"] + images["num_unsure_boxes"]).to_numpy()),
        "boxes name another file or split than their image": (both["file_name"] != both["file_name_of_image"])
        | (both["split"] != both["split_of_image"]),
        "boxes lie outside their image or are empty": ~is_inside,
        "boxes have a class name that is not that of their class index": names != all_boxes["class_name"],
    }
    yield from (f"data: {int(is_wrong.sum())} {what}" for what, is_wrong in wrong.items() if is_wrong.any())


def videos_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems of the table of videos, compared with the table of images."""
    import pandas as pd

    tally = expected.tally
    videos = read_videos(folder)
    found = {video.video_key: (video.num_images, video.num_boxes) for video in videos}
    wanted = {key: (number, tally.boxes_by_video[key]) for key, number in tally.images_by_video.items()}
    if found != wanted or len(found) != len(videos):
        key = next((key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)), "a video twice")
        yield f"data: videos.parquet has {key} with {found.get(key)} images and boxes, expected {wanted.get(key)}"
    images = pd.read_parquet(images_table(folder), columns=["video_key", "split"]).drop_duplicates()
    splits = {video.video_key: splits_in(video.split) for video in videos}
    if any(split not in splits.get(key, ()) for key, split in images.itertuples(index=False, name=None)):
        yield "data: videos.parquet has videos in another split than their images"


def same_tables_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the first image that differs between the tables and the release."""
    for found, image in zip_longest(read_images(folder), expected.read_images()):
        if found != image:
            yield f"data: {(found or image).file_name} is not what the release says"
            return


def add_videos(to: Destination, tally: ReleaseTally) -> None:
    """Add the table of videos to an export, with counts for its own images, and the tracks of these videos."""
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
