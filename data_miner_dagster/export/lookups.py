"""Find one image or box in the tables of a release, for `data-miner trace`, in bounded memory."""

import re
from pathlib import Path, PurePath
from typing import Any, Final

from data_miner_dagster.export.parquet import box_from, boxes_table, image_from, images_table
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.export.rows import read_columns, read_rows_with

_FILE_SUFFIX: Final = re.compile(r"\.(?:jpg|jpeg|png|webp|txt|xml|json)$")
"""The suffix of an image file or label file. Anything else after a dot is part of a video's key."""
_CROP: Final = re.compile(r"(.+_[0-9]{6})_[0-9]{3}")


def find_image(folder: Path, image_id: int) -> tuple[ReleaseImage, tuple[int, ...]] | None:
    """Return an image in a release with its boxes, and the boxes' COCO ids, or None if there is no such image.

    Raises:
        DataMinerError: a table is damaged.
    """
    rows = read_rows_with(images_table(folder), "image_id", image_id)
    if not rows:
        return None
    boxes = read_rows_with(boxes_table(folder), "image_id", image_id)
    first = _place_of(boxes_table(folder), "image_id", image_id) or 0
    return image_from(rows[0], [box_from(box) for box in boxes]), tuple(range(first, first + len(boxes)))


def find_image_id(folder: Path, name: str) -> int | None:
    """Return the id of the image that a name refers to, or None if there is no such image.

    The name is a frame id, or the name of the image file, its label file or one of its crops.

    Raises:
        DataMinerError: the table of images is damaged.
    """
    stem = _FILE_SUFFIX.sub("", PurePath(name).name).replace("~", ".")  # as in WebDataset
    crop = _CROP.fullmatch(stem)
    by_file = by_crop = None
    for image_id, image_file, frame_id in read_columns(images_table(folder), "image_id", "file_name", "frame_id"):
        if frame_id == name:
            return int(image_id)
        image = PurePath(image_file).stem
        if image == stem:
            by_file = int(image_id)
        elif crop is not None and image == crop[1]:
            by_crop = int(image_id)
    return by_crop if by_file is None else by_file


def image_id_of_box(folder: Path, annotation_id: int) -> int | None:
    """Return the id of a box's image, or None if there is no such box.

    The box's id is its COCO id, which is its position in the table, counting from 1.

    Raises:
        DataMinerError: the table is damaged.
    """
    owners = enumerate(read_columns(boxes_table(folder), "image_id"), 1)
    return next((int(owner) for place, (owner,) in owners if place == annotation_id), None)


def _place_of(path: Path, column: str, value: Any) -> int | None:
    """Return the position of the first row with `value` in `column`, counting from 1, or None if no row has it."""
    return next((place for place, (found,) in enumerate(read_columns(path, column), 1) if found == value), None)
