"""Reading a release back, each format with its own library, before it is published."""

from pathlib import Path
from typing import Final

import pandas as pd
import yaml
from PIL import Image

from data_miner_dagster.domain.splits import yolo_name
from data_miner_dagster.export.coco import ALL_SPLITS, annotation_file, read_coco
from data_miner_dagster.export.parquet import boxes_table, images_table, read_images
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.export.yolo import DATA_FILE, label_file, read_yolo_labels

MAX_COCO_BYTES: Final = 64 << 20
"""pycocotools holds a whole file in memory, about ten times its size; larger files are left to the
check of the tables that they were written beside."""
_RELATIVE_TOLERANCE: Final = 2e-6  # YOLO's six decimals


def release_problems(folder: Path, header: ReleaseHeader, expected: ReleaseTally) -> list[str]:
    """Return what is wrong with a release that was just written: nothing, unless there is a bug or a bad disk."""
    return [
        *_coco_problems(folder, header, expected),
        *_yolo_problems(folder, header),
        *_parquet_problems(folder, expected),
    ]


def _coco_problems(folder: Path, header: ReleaseHeader, expected: ReleaseTally) -> list[str]:
    problems = []
    wanted = {split: (expected.images_by_split[split], expected.boxes_by_split[split]) for split in header.splits}
    wanted[ALL_SPLITS] = (expected.num_images, expected.num_boxes)
    for split, (num_images, num_boxes) in wanted.items():
        path = annotation_file(folder, split)
        if path.stat().st_size > MAX_COCO_BYTES:
            continue
        coco = read_coco(path)
        found = (len(coco.getImgIds()), len(coco.getAnnIds()))
        if found != (num_images, num_boxes):
            problems.append(
                f"{path.name}: {found[0]} images and {found[1]} boxes, expected {num_images} and {num_boxes}"
            )
        names = tuple(category["name"] for category in coco.loadCats(sorted(coco.getCatIds())))
        if names != header.class_names:
            problems.append(f"{path.name}: categories {names}, expected {header.class_names}")
        missing = [
            image["file_name"]
            for image in coco.loadImgs(coco.getImgIds())
            if not (folder / "images" / image["file_name"]).is_file()
        ]
        problems += [f"{path.name}: there is no image {name}" for name in missing]
    return problems


def _yolo_problems(folder: Path, header: ReleaseHeader) -> list[str]:
    problems = []
    content = yaml.safe_load((folder / DATA_FILE).read_text(encoding="utf-8"))
    if tuple(content["names"].values()) != header.class_names:
        problems.append(f"{DATA_FILE}: names {content['names']}, expected {header.class_names}")
    problems += [
        f"{DATA_FILE}: there is no folder {content[split]}"
        for split in sorted({*map(yolo_name, header.splits), "val"})
        if split in content and not (folder / content[split]).is_dir()
    ]
    for image in read_images(folder):
        problems += _label_problems(folder, image) + _image_problems(folder, image)
    return problems


def _label_problems(folder: Path, image: ReleaseImage) -> list[str]:
    labels = read_yolo_labels(label_file(folder, image.file_name))
    if len(labels) != len(image.boxes):
        return [f"{image.file_name}: {len(labels)} labels, expected {len(image.boxes)}"]
    for (class_index, x, y, width, height), box in zip(labels, image.boxes, strict=True):
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        sides = (image.width, image.height, image.width, image.height)
        is_near = all(
            abs(corner - value / side) <= _RELATIVE_TOLERANCE
            for corner, value, side in zip(corners, box.box_xyxy, sides, strict=True)
        )
        if class_index != box.class_index or not is_near:
            return [f"{image.file_name}: label {class_index} {corners} is not box {box.class_index} {box.box_xyxy}"]
    return []


def _image_problems(folder: Path, image: ReleaseImage) -> list[str]:
    with Image.open(folder / "images" / image.file_name) as opened:  # the header only
        if opened.size != (image.width, image.height):
            return [f"{image.file_name}: {opened.size} pixels, expected {(image.width, image.height)}"]
    return []


def _parquet_problems(folder: Path, expected: ReleaseTally) -> list[str]:
    images = pd.read_parquet(images_table(folder), columns=["image_id", "split", "num_boxes"])
    boxes = pd.read_parquet(boxes_table(folder), columns=["image_id", "class_name"])
    found = (len(images), len(boxes), int(images["num_boxes"].sum()))
    problems = []
    if found != (expected.num_images, expected.num_boxes, expected.num_boxes):
        problems.append(
            f"data: {found[0]} images, {found[1]} boxes, expected {expected.num_images}, {expected.num_boxes}"
        )
    if not images["image_id"].is_unique or not boxes["image_id"].isin(images["image_id"]).all():
        problems.append("data: image ids are not unique, or boxes name images that are not there")
    return problems
