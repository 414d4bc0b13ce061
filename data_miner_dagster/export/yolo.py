"""Write YOLO labels and `data.yaml`, as Ultralytics reads them, and read them back.

Source: https://docs.ultralytics.com/datasets/detect/. A label file's path is the image's path with `images` replaced
by `labels`. A line is `class x_centre y_centre width height`, relative to the image size. An image without
boxes has an empty file, which marks it as a negative rather than as unlabelled. YOLO has no regions to ignore, so
unsure boxes have no line. If the project has masks, every line is a polygon (`class x y x y ...`), since Ultralytics
refuses a mixture. The polygon of a box without a mask is its rectangle.

Source: https://docs.ultralytics.com/datasets/segment/.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import yaml

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.splits import TRAIN_SPLIT, folds_among, yolo_name
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import corners_of, file_number_problems, label_problems
from data_miner_dagster.export.outlines import yolo_polygon, yolo_rectangle
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage

LABELS_FOLDER: Final = "labels"
DATA_FILE: Final = "data.yaml"
"""With folds, this file validates on the first fold. `fold_file` returns the name of each fold's file."""
_DECIMALS: Final = 6
_MIN_POINTS: Final = 3
_TOLERANCE: Final = 2e-6  # as a share of the longer side, since labels have six decimals
YoloBox = tuple[int, float, float, float, float]
"""Class index, then x centre, y centre, width and height in 0..1."""


def label_file(folder: Path, file_name: str) -> Path:
    """Return the path of the label file for the image `file_name`, which is `<split>/<image name>`."""
    return folder / LABELS_FOLDER / Path(file_name).with_suffix(".txt")


def fold_file(fold: str) -> str:
    """Return the name of the counterpart of `data.yaml` that validates on one fold and trains on the others."""
    return f"data_{fold}.yaml"


class YoloWriter:
    """Writes `labels/<split>/<image>.txt` and `data.yaml`. With folds, it also writes a `data_<fold>.yaml` for each.

    `data.yaml` has no `path`, so Ultralytics uses the file's own folder and a release can be moved.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        self._folder = folder
        self._header = header
        self._num_images = dict.fromkeys(header.splits, 0)
        self._last = ("", "")  # video and split of the last image; the images of a video are consecutive
        self._cut_videos: list[str] = []
        for split in header.splits:
            (folder / LABELS_FOLDER / split).mkdir(parents=True)

    def add(self, image: ReleaseImage) -> None:
        """Write one label file."""
        self._num_images[image.split] += 1
        video_key, split = self._last
        if video_key == image.video_key and split != image.split and video_key not in self._cut_videos:
            self._cut_videos.append(video_key)
        self._last = (image.video_key, image.split)
        line = yolo_polygon_line if self._header.has_masks else yolo_line
        lines = [line(box, image.width, image.height) for box in image.labels]
        label_file(self._folder, image.file_name).write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Write `data.yaml` and, with folds, each fold's file."""
        for name, paths in data_paths(self._num_images).items():
            (self._folder / name).write_text(self._data_yaml(paths), encoding="utf-8")

    def _data_yaml(self, paths: Mapping[str, str | list[str]]) -> str:
        comments = [f"# {self._header.title}: {counted(sum(self._num_images.values()), 'image')}"]
        if "train" not in paths:
            comments.append("# every video here was released in another split before: there is nothing to train on")
        if paths["val"] == paths.get("train", f"images/{TRAIN_SPLIT}"):
            comments.append("# no video fell into val: it points to train, so its metrics say nothing about new videos")
        if self._cut_videos:
            comments.append(
                f"# {', '.join(self._cut_videos)}: divided between the splits by time, with gaps between them, since "
                "there are too few videos: metrics say little about new videos"
            )
        content = {**paths, "names": dict(enumerate(self._header.class_names))}
        return "\n".join(comments) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def data_paths(images_by_split: Mapping[str, int]) -> dict[str, dict[str, str | list[str]]]:
    """Return {file name: {purpose: image folders}} for `data.yaml` and, with folds, for each fold's file.

    The purposes are `train`, `val` and `test`. Splits without images are omitted, except that `val` is always
    present: without images of its own, it names the folder of `train`.
    """
    filled = [split for split, number in images_by_split.items() if number]
    if len(folds := folds_among(filled)) > 1:
        others = {yolo_name(split): f"images/{split}" for split in filled if split not in folds}
        by_fold: dict[str, dict[str, str | list[str]]] = {
            fold_file(fold): {
                "train": [f"images/{other}" for other in folds if other != fold],
                "val": f"images/{fold}",
                **others,
            }
            for fold in folds
        }
        return {DATA_FILE: by_fold[fold_file(folds[0])], **by_fold}
    paths: dict[str, str | list[str]] = {
        "train" if split in folds else yolo_name(split): f"images/{split}" for split in filled
    }
    if "val" not in paths:  # Ultralytics refuses a dataset without `val`
        paths["val"] = paths.get("train", f"images/{TRAIN_SPLIT}")
    return {DATA_FILE: paths}


def yolo_line(box: ReleaseBox, width: int, height: int) -> str:
    """Return a box's label line, including the newline, for an image of the given width and height."""
    x_min, y_min, x_max, y_max = box.box_xyxy
    values = (
        (x_min + x_max) / 2 / width,
        (y_min + y_max) / 2 / height,
        (x_max - x_min) / width,
        (y_max - y_min) / height,
    )
    return " ".join([str(box.class_index), *(f"{value:.{_DECIMALS}f}" for value in values)]) + "\n"


def yolo_polygon_line(box: ReleaseBox, width: int, height: int) -> str:
    """Return a box's label line as a polygon, including the newline, for an image of the given width and height."""
    shares = (_polygon_of(box) / [width, height]).ravel().tolist()
    return " ".join([str(box.class_index), *(f"{value:.{_DECIMALS}f}" for value in shares)]) + "\n"


def _polygon_of(box: ReleaseBox) -> npt.NDArray[np.float64]:
    return yolo_rectangle(box.box_xyxy) if box.mask is None else yolo_polygon(box.mask)


def read_yolo_polygons(path: Path) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Return the (class index, polygon) pairs in a label file. A polygon is a (K, 2) array of points in 0..1.

    Raises:
        ValueError: a line is not a class id and at least three points in 0..1.
    """
    polygons = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            class_index, *numbers = line.split()
            points = np.array(numbers, np.float64).reshape(-1, 2)
            polygons.append((int(class_index), points))
        except ValueError:
            raise ValueError(f"the line {line[:80]!r} of {path.name} is not a class id and pairs of numbers") from None
        if len(points) < _MIN_POINTS or not ((points >= 0) & (points <= 1)).all():
            raise ValueError(
                f"the line {line[:80]!r} of {path.name} has fewer than 3 points, or points outside the image"
            )
    return polygons


def read_yolo_labels(path: Path) -> list[YoloBox]:
    """Return the boxes in a label file.

    Raises:
        ValueError: a line is not a class id and four numbers in 0..1.
    """
    boxes = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            class_index, *numbers = line.split()
            x, y, width, height = (float(number) for number in numbers)
            box = (int(class_index), x, y, width, height)
        except ValueError:
            raise ValueError(f"the line {line!r} of {path.name} is not a class id and four numbers") from None
        if not all(0 <= value <= 1 for value in (x, y, width, height)):
            raise ValueError(f"the line {line!r} of {path.name} has a number outside 0 to 1")
        boxes.append(box)
    return boxes


def yolo_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with `data.yaml`, the files for folds, and `labels/`."""
    header = expected.header
    for name, paths in data_paths(expected.tally.images_by_split).items():
        content = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        names = content.pop("names")
        if names != dict(enumerate(header.class_names)):
            yield f"{name}: the names are {names}, expected {dict(enumerate(header.class_names))}"
        if content != paths:
            yield f"{name}: the splits are {content}, expected {paths}"
        folders = [path for found in paths.values() for path in ([found] if isinstance(found, str) else found)]
        yield from (f"{name}: there is no folder {path}" for path in folders if not (folder / path).is_dir())
    for image in expected.read_images():
        path = label_file(folder, image.file_name)
        if not path.is_file():
            yield f"{image.file_name}: there is no label file"
            continue
        if header.has_masks:
            yield from _polygon_problems(image, read_yolo_polygons(path))
            continue
        sides = (image.width, image.height, image.width, image.height)
        boxes = []
        for class_index, x, y, width, height in read_yolo_labels(path):
            corners = corners_of(x - width / 2, y - height / 2, width, height)
            left, top, right, bottom = (value * side for value, side in zip(corners, sides, strict=True))
            boxes.append((class_index, (left, top, right, bottom)))
        yield from label_problems(image, image.labels, boxes, _TOLERANCE * max(sides))
    yield from file_number_problems(folder / LABELS_FOLDER, expected.tally.num_images, suffix=".txt")


def _polygon_problems(image: ReleaseImage, found: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> Iterator[str]:
    if len(found) != len(image.labels):
        yield f"{image.file_name}: {counted(len(found), 'label')}, expected {len(image.labels)}"
        return
    for (class_index, points), box in zip(found, image.labels, strict=True):
        wanted = _polygon_of(box) / [image.width, image.height]
        if class_index != box.class_index:
            yield f"{image.file_name}: a polygon has class {class_index}, but its box has class {box.class_index}"
        elif points.shape != wanted.shape or not (np.abs(points - wanted) <= _TOLERANCE).all():
            yield f"{image.file_name}: the polygon of the box at {box.box_xyxy} differs from the release"


CODEC: Final = Codec(lambda to: YoloWriter(to.folder, to.header), (yolo_problems,))
