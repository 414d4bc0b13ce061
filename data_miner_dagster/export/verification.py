"""Reading releases and exports back, each format with its own library, before they are published.

Belongs here: a verifier for each format, which yields a line for everything that is not as it should be.
Does not belong here: the checksums of a release that stands (manifest.py).
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.splits import TRAIN_SPLIT, yolo_name
from data_miner_dagster.export.coco import ALL_SPLITS, annotation_file, read_coco
from data_miner_dagster.export.crops import crop_corners, crop_file, crop_name
from data_miner_dagster.export.huggingface import metadata_file, shard_files
from data_miner_dagster.export.parquet import boxes_table, images_table, read_images, read_videos
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.export.yolo import DATA_FILE, label_file, read_yolo_labels

MAX_COCO_BYTES: Final = 64 << 20
"""pycocotools holds a whole file in memory, about ten times its size; larger files are left to the
check of the tables that they were written beside."""
_YOLO_TOLERANCE: Final = 2e-6  # of the longer side: YOLO's six decimals
_PIXEL_TOLERANCE: Final = 2e-3  # widths and heights have three decimals
_ROWS_AT_ONCE: Final = 100  # of a table that may hold images


@dataclass(frozen=True, slots=True)
class Expected:
    """What a folder is to hold. `read_images` begins anew with every call; `missing_crops` are names that may lack."""

    header: ReleaseHeader
    tally: ReleaseTally
    read_images: Callable[[], Iterator[ReleaseImage]]
    missing_crops: Collection[str] = ()


Verifier = Callable[[Path, Expected], Iterator[str]]
"""Yields what is wrong with a folder in one format, a line each."""
FoundBox = tuple[int, tuple[float, float, float, float]]
"""Class index, and corners in pixels, as a format says."""


def release_problems(folder: Path, header: ReleaseHeader, expected: ReleaseTally) -> list[str]:
    """Return what is wrong with a release that was just written: nothing, unless there is a bug or a bad disk."""
    whole = Expected(header, expected, partial(read_images, folder))
    # Every other format is compared with the tables.
    return _problems((parquet_problems, videos_problems), folder, whole) or _problems(
        (picture_problems, coco_problems, yolo_problems, image_folder_problems), folder, whole
    )


def export_problems(format: str, folder: Path, expected: Expected) -> list[str]:
    """Return what is wrong with an export in one format that was just written."""
    return _problems(EXPORT_VERIFIERS[format], folder, expected)


def _problems(verifiers: Sequence[Verifier], folder: Path, expected: Expected) -> list[str]:
    problems: list[str] = []
    for verify in verifiers:
        try:
            for problem in verify(folder, expected):
                problems.append(problem)  # one by one: those before an error count, too
        except OSError as error:
            if error.errno is not None and not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise  # the disk, not what is on it
            problems.append(_unreadable(verify, folder, error))
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            DataMinerError,
            LookupError,
            SyntaxError,  # so Pillow calls a broken PNG
            TypeError,
            ValueError,
            yaml.YAMLError,
        ) as error:
            problems.append(_unreadable(verify, folder, error))
    return problems


def _unreadable(verify: Verifier, folder: Path, error: Exception) -> str:
    format = verify.__name__.removesuffix("_problems").replace("_", " ")
    what = str(error).replace(f"{folder}/", "").strip() or "no message"
    return f"{format}: it cannot be read ({type(error).__name__}: {what.splitlines()[0][:200]})"


def picture_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the images below `images/`: their size in bytes and pixels, and how many there are."""
    for image in expected.read_images():
        path = folder / "images" / image.file_name
        if not path.is_file():
            yield f"there is no image {image.file_name}"
            continue
        size_bytes = path.stat().st_size
        if size_bytes != image.size_bytes:
            yield f"{image.file_name}: {size_bytes} bytes, expected {image.size_bytes}"
            continue
        if has_foreign_pictures(image.video_key):
            continue  # never parsed here: a worker measured these very bytes, whose sha256 was compared when placed
        with Image.open(path) as opened:  # the header only
            if opened.size != (image.width, image.height):
                yield f"{image.file_name}: {opened.size} pixels, expected {(image.width, image.height)}"
    yield from _number_problems(folder / "images", expected.tally.num_images, without=".parquet")


def _number_problems(folder: Path, expected: int, *, suffix: str = "", without: str | None = None) -> Iterator[str]:
    names = (path for path in folder.rglob(f"*{suffix}") if path.is_file() and path.suffix != without)
    found = sum(1 for _ in names)
    if found != expected:
        yield f"{folder.name}: {found} files, expected {expected}"


def _label_problems(image: ReleaseImage, found: Sequence[FoundBox], tolerance: float) -> Iterator[str]:
    if len(found) != len(image.boxes):
        yield f"{image.file_name}: {len(found)} labels, expected {len(image.boxes)}"
        return
    for (class_index, corners), box in zip(found, image.boxes, strict=True):
        is_near = all(abs(one - other) <= tolerance for one, other in zip(corners, box.box_xyxy, strict=True))
        if class_index != box.class_index or not is_near:
            yield f"{image.file_name}: label {class_index} {corners} is not box {box.class_index} {box.box_xyxy}"


def _corners(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, x + width, y + height


def coco_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with `annotations/`, file by file."""
    header, tally = expected.header, expected.tally
    for split in (*header.splits, ALL_SPLITS):
        path = annotation_file(folder, split)
        if path.stat().st_size > MAX_COCO_BYTES:
            continue
        coco = read_coco(path)
        is_whole = split == ALL_SPLITS
        num_images = tally.num_images if is_whole else tally.images_by_split[split]
        num_boxes = tally.num_boxes if is_whole else tally.boxes_by_split[split]
        found = (len(coco.dataset["images"]), len(coco.dataset["annotations"]))
        if found != (num_images, num_boxes):
            yield f"{path.name}: {found[0]} images and {found[1]} boxes, expected {num_images} and {num_boxes}"
        names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
        if names != dict(enumerate(header.class_names, 1)):
            yield f"{path.name}: categories {names}, expected {header.class_names}"
        for image in expected.read_images():
            if is_whole or image.split == split:
                yield from (f"{path.name}: {line}" for line in _coco_image_problems(coco, image))


def _coco_image_problems(coco: Any, image: ReleaseImage) -> Iterator[str]:
    entry = coco.imgs.get(image.image_id)
    if entry is None:
        yield f"there is no image {image.file_name}"
        return
    found = tuple(entry[name] for name in ("file_name", "width", "height", "split"))
    wanted = (image.file_name, image.width, image.height, image.split)
    if found != wanted:
        yield f"image {image.image_id} is {found}, expected {wanted}"
    annotations = coco.imgToAnns.get(image.image_id, [])
    boxes = [(annotation["category_id"] - 1, _corners(*annotation["bbox"])) for annotation in annotations]
    yield from _label_problems(image, boxes, _PIXEL_TOLERANCE)
    for annotation in annotations:
        _, _, width, height = annotation["bbox"]
        if annotation["iscrowd"] or not abs(annotation["area"] - width * height) <= _PIXEL_TOLERANCE:
            yield f"{image.file_name}: area {annotation['area']} of a box of {width} by {height}"


def yolo_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with `data.yaml` and `labels/`."""
    header, by_split = expected.header, expected.tally.images_by_split
    content = yaml.safe_load((folder / DATA_FILE).read_text(encoding="utf-8"))
    names = content.pop("names")
    if names != dict(enumerate(header.class_names)):
        yield f"{DATA_FILE}: names {names}, expected {header.class_names}"
    paths = {yolo_name(split): f"images/{split}" for split in header.splits if by_split[split]}
    paths.setdefault("val", paths.get("train", f"images/{TRAIN_SPLIT}"))
    if content != paths:
        yield f"{DATA_FILE}: splits {content}, expected {paths}"
    yield from (f"{DATA_FILE}: there is no folder {path}" for path in paths.values() if not (folder / path).is_dir())
    for image in expected.read_images():
        path = label_file(folder, image.file_name)
        if not path.is_file():
            yield f"{image.file_name}: there is no label file"
            continue
        sides = (image.width, image.height, image.width, image.height)
        boxes = []
        for class_index, x, y, width, height in read_yolo_labels(path):
            corners = _corners(x - width / 2, y - height / 2, width, height)
            left, top, right, bottom = (value * side for value, side in zip(corners, sides, strict=True))
            boxes.append((class_index, (left, top, right, bottom)))
        yield from _label_problems(image, boxes, _YOLO_TOLERANCE * max(sides))
    yield from _number_problems(folder / "labels", expected.tally.num_images, suffix=".txt")


def parquet_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the tables of images and boxes, each by itself and with each other."""
    header, tally = expected.header, expected.tally
    images = pd.read_parquet(
        images_table(folder), columns=["image_id", "file_name", "split", "width", "height", "num_boxes"]
    )
    boxes = pd.read_parquet(
        boxes_table(folder),
        columns=["image_id", "file_name", "split", "class_index", "class_name", "x_min", "y_min", "x_max", "y_max"],
    )
    found = (len(images), len(boxes), int(images["num_boxes"].sum()))
    if found != (tally.num_images, tally.num_boxes, tally.num_boxes):
        yield f"data: {found[0]} images, {found[1]} boxes, expected {tally.num_images}, {tally.num_boxes}"
    for what, column, wanted in (
        ("images", images["split"], tally.images_by_split),
        ("boxes", boxes["split"], tally.boxes_by_split),
        ("boxes", boxes["class_name"], tally.boxes_by_class),
    ):
        counts = dict.fromkeys(wanted, 0) | column.value_counts().to_dict()
        if counts != wanted:
            yield f"data: {what} by {column.name}: {counts}, expected {wanted}"
    is_ordered = images["image_id"].is_monotonic_increasing and boxes["image_id"].is_monotonic_increasing
    if not images["image_id"].is_unique or not boxes["image_id"].isin(images["image_id"]).all() or not is_ordered:
        yield "data: image ids are not unique or not in order, or boxes name images that are not there"
        return
    both = boxes.merge(images, on="image_id", suffixes=("", "_of_image"))
    numbers = boxes["image_id"].value_counts().reindex(images["image_id"], fill_value=0)
    is_inside = (both["x_min"] >= 0) & (both["y_min"] >= 0) & (both["x_max"] <= both["width"])
    is_inside &= (both["y_max"] <= both["height"]) & (both["x_min"] < both["x_max"]) & (both["y_min"] < both["y_max"])
    names = boxes["class_index"].map(dict(enumerate(header.class_names)))
    wrong = {
        "images lie in the folder of another split": images["file_name"].str.partition("/")[0] != images["split"],
        "images have another number of boxes": numbers.to_numpy() != images["num_boxes"].to_numpy(),
        "boxes name another file or split than their image": (both["file_name"] != both["file_name_of_image"])
        | (both["split"] != both["split_of_image"]),
        "boxes lie outside their image or are empty": ~is_inside,
        "boxes have a class name that is not that of their class index": names != boxes["class_name"],
    }
    yield from (f"data: {int(is_wrong.sum())} {what}" for what, is_wrong in wrong.items() if is_wrong.any())


def videos_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the table of videos, by the table of images."""
    tally = expected.tally
    videos = read_videos(folder)
    found = {video.video_key: (video.num_images, video.num_boxes) for video in videos}
    wanted = {key: (number, tally.boxes_by_video[key]) for key, number in tally.images_by_video.items()}
    if found != wanted or len(found) != len(videos):
        key = next((key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key)), "a video twice")
        yield f"data: videos.parquet has {key} with {found.get(key)} images and boxes, expected {wanted.get(key)}"
    images = pd.read_parquet(images_table(folder), columns=["video_key", "split"]).drop_duplicates()
    if {(video.video_key, video.split) for video in videos} != set(images.itertuples(index=False, name=None)):
        yield "data: videos.parquet has videos in another split than their images"


def same_tables_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the first image that is another in the tables than in the release."""
    for found, image in zip_longest(read_images(folder), expected.read_images()):
        if found != image:
            yield f"data: {(found or image).file_name} is not what the release says"
            return


def image_folder_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the tables beside the images: `images/<split>/metadata.parquet`."""
    files = {split: [metadata_file(folder, split)] for split in expected.header.splits}
    for split, number in expected.tally.images_by_split.items():
        if not number and files[split][0].exists():
            yield f"{split}/metadata.parquet: a split without images has none"
        files[split] = files[split] if number else []
    yield from _hub_problems(files, expected, lambda row: row["file_name"])


def embedded_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with the shards that hold the images: `data/<split>-<shard>.parquet`."""
    files = {split: shard_files(folder, split) for split in expected.header.splits}
    yield from _number_problems(folder / "data", sum(map(len, files.values())))
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
        corners = [_corners(*bbox) for bbox in objects["bbox"]]
        yield from _label_problems(image, list(zip(objects["category"], corners, strict=True)), _PIXEL_TOLERANCE)
        if objects["category_name"] != [box.class_name for box in image.boxes]:
            yield f"{image.file_name}: classes {objects['category_name']} are not those of its boxes"
    yield from (f"{split}: there are more rows than images" for split in rows if next(rows[split], None) is not None)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            yield from batch.to_pylist()


def crops_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield what is wrong with crops: each is decoded, and has the size of its box."""
    for image in expected.read_images():
        for number, box in enumerate(image.boxes):
            if crop_name(image, number) in expected.missing_crops:
                continue
            path = crop_file(folder, image, number)
            name = path.relative_to(folder).as_posix()
            if not path.is_file():
                yield f"there is no crop {name}"
                continue
            left, top, right, bottom = crop_corners(box)
            with Image.open(path) as opened:
                opened.load()
                if opened.size != (right - left, bottom - top):
                    yield f"{name}: {opened.size} pixels, expected {(right - left, bottom - top)}"
    yield from _number_problems(folder, expected.tally.num_boxes - len(expected.missing_crops), suffix=".jpg")


EXPORT_VERIFIERS: Final[Mapping[str, tuple[Verifier, ...]]] = {
    "coco": (coco_problems, picture_problems),
    "yolo": (yolo_problems, picture_problems),
    "parquet": (parquet_problems, videos_problems, same_tables_problems, picture_problems),
    "huggingface": (embedded_problems,),
    "crops": (crops_problems,),
}
"""How each format that `export_release` writes is read back."""
