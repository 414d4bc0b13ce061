"""Build one row per image, with its boxes as a struct of lists, for Hugging Face, WebDataset and Lance.

Source: https://huggingface.co/docs/datasets/image_dataset#object-detection. Unsure boxes are omitted, since
the layout cannot mark them as regions to ignore.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from data_miner_dagster.domain.tables import RECOVERED_FROM_COLUMN
from data_miner_dagster.domain.tracks import sightings_as_rows
from data_miner_dagster.export.codec import Expected
from data_miner_dagster.export.comparing import PIXEL_TOLERANCE, corners_of, label_problems
from data_miner_dagster.export.parquet import EXTRA_FIELDS
from data_miner_dagster.export.records import MASK_COLUMN, ReleaseBox, ReleaseImage

_BOX_LISTS = (
    pa.field("bbox", pa.list_(pa.list_(pa.float64()))),  # x, y, width, height in pixels
    pa.field("category", pa.list_(pa.int64())),  # class id, counting from 0
    pa.field("category_name", pa.list_(pa.string())),
    pa.field("confidence", pa.list_(pa.float64())),
)


def row_schema(columns: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of the rows, with a list for each of `columns`, which are names from EXTRA_COLUMNS."""
    extra = (pa.field(name, pa.list_(EXTRA_FIELDS[name].type)) for name in columns)
    return pa.schema(
        [
            pa.field("file_name", pa.string(), nullable=False),
            pa.field("image_id", pa.int64(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("objects", pa.struct([*_BOX_LISTS, *extra]), nullable=False),
            pa.field("frame_id", pa.string(), nullable=False),
            pa.field("video_key", pa.string(), nullable=False),
            pa.field("video_url", pa.string(), nullable=False),
            pa.field("pts_seconds", pa.float64(), nullable=False),
            pa.field("similarity", pa.float64(), nullable=False),
            pa.field("similar_prompt", pa.string(), nullable=False),
        ]
    )


def row_of(image: ReleaseImage, columns: Sequence[str] = ()) -> dict[str, Any]:
    """Convert an image to a row of `row_schema`."""
    return {
        "file_name": PurePosixPath(image.file_name).name,
        "image_id": image.image_id,
        "width": image.width,
        "height": image.height,
        "objects": objects_of(image, columns),
        "frame_id": image.frame_id,
        "video_key": image.video_key,
        "video_url": image.video_url,
        "pts_seconds": image.pts_seconds,
        "similarity": image.similarity,
        "similar_prompt": image.similar_prompt,
    }


def objects_of(image: ReleaseImage, columns: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Return an image's labels as the struct of lists used in the object-detection examples of `datasets`."""
    labels = image.labels
    corners = [box.box_xyxy for box in labels]
    return {
        "bbox": [[x, y, round(x_max - x, 3), round(y_max - y, 3)] for x, y, x_max, y_max in corners],
        "category": [box.class_index for box in labels],
        "category_name": [box.class_name for box in labels],
        "confidence": [box.confidence for box in labels],
        **{name: [_value(box, name) for box in labels] for name in columns},
    }


def _value(box: ReleaseBox, column: str) -> object:
    if column == MASK_COLUMN:
        return None if box.mask is None else box.mask.as_coco()
    if column == RECOVERED_FROM_COLUMN:
        return sightings_as_rows(box.recovered_from)
    value: object = getattr(box, column)
    return value


def split_problems(
    rows: Mapping[str, Iterator[Mapping[str, Any]]], expected: Expected, columns: Sequence[str] = ()
) -> Iterator[str]:
    """Yield the problems with every split's rows, which must be in image order.

    If a row has an `image`, its bytes must equal the content of the image file.
    """
    for image in expected.read_images():
        row = next(rows[image.split], None)
        if row is None:
            yield f"there is no row for {image.file_name}"
            continue
        if "image" in row and hashlib.sha256(row["image"]).hexdigest() != image.sha256:
            yield f"{image.file_name}: the image in its row differs from the image file"
        yield from _row_problems(row, image, columns)
    yield from (f"{split}: there are more rows than images" for split in rows if next(rows[split], None) is not None)


def _row_problems(row: Mapping[str, Any], image: ReleaseImage, columns: Sequence[str] = ()) -> Iterator[str]:
    """Yield the problems with an image's row."""
    wanted = row_of(image, columns)
    facts = ("file_name", "image_id", "width", "height", "frame_id", "pts_seconds")
    found_facts, wanted_facts = (tuple(entry[name] for name in facts[:4]) for entry in (row, wanted))
    if found_facts != wanted_facts:
        yield f"{image.file_name}: its row has {found_facts}, expected {wanted_facts}"
        return
    objects = row["objects"]
    corners = [corners_of(*bbox) for bbox in objects["bbox"]]
    found_boxes = list(zip(objects["category"], corners, strict=True))
    yield from label_problems(image, image.labels, found_boxes, PIXEL_TOLERANCE)
    if objects["category_name"] != wanted["objects"]["category_name"]:
        yield f"{image.file_name}: the class names {objects['category_name']} differ from those of its boxes"
    for name in ("confidence", *columns):
        if objects.get(name) != wanted["objects"][name]:
            yield f"{image.file_name}: `{name}` of its boxes differs from the release"
    for name in facts[4:]:
        if row[name] != wanted[name]:
            yield f"{image.file_name}: its `{name}` is {row[name]}, expected {wanted[name]}"
