"""YOLO labels and `data.yaml`, as Ultralytics reads them.

Source: https://docs.ultralytics.com/datasets/detect/. The path of a label file is the image's path with `images`
replaced by `labels`. A line is `class x_centre y_centre width height`, relative to the image size. An image without
boxes has an empty file, which marks it as a negative and not as unlabelled. YOLO has no regions to ignore, so unsure
boxes have no line. Where the project has masks, every line is `class x y x y ...` instead, a polygon, since Ultralytics
refuses a mixture; a box without a mask is its own rectangle.

Source: https://docs.ultralytics.com/datasets/segment/.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import yaml

from data_miner_dagster.domain.splits import TRAIN_SPLIT, yolo_name
from data_miner_dagster.export.codec import Codec, Expected
from data_miner_dagster.export.comparing import corners_of, file_number_problems, label_problems
from data_miner_dagster.export.outlines import yolo_polygon, yolo_rectangle
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage

DATA_FILE: Final = "data.yaml"
_DECIMALS: Final = 6
_MIN_POINTS: Final = 3
_TOLERANCE: Final = 2e-6  # as a share of the longer side: labels have six decimals
YoloBox = tuple[int, float, float, float, float]
"""Class index, then x centre, y centre, width and height in 0..1."""


def label_file(folder: Path, file_name: str) -> Path:
    """Return the label file of `<split>/<image name>`."""
    return folder / "labels" / Path(file_name).with_suffix(".txt")


class YoloWriter:
    """Writes `labels/<split>/<image>.txt` and `data.yaml`.

    `data.yaml` has no `path`, so Ultralytics uses the file's own folder and a release can be moved.
    """

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        self._folder = folder
        self._header = header
        self._num_images = dict.fromkeys(header.splits, 0)
        for split in header.splits:
            (folder / "labels" / split).mkdir(parents=True)

    def add(self, image: ReleaseImage) -> None:
        """Write one label file."""
        self._num_images[image.split] += 1
        line = yolo_polygon_line if self._header.has_masks else yolo_line
        lines = [line(box, image.width, image.height) for box in image.labels]
        label_file(self._folder, image.file_name).write_text("".join(lines), encoding="utf-8")

    def close(self) -> None:
        """Write `data.yaml`."""
        (self._folder / DATA_FILE).write_text(self._data_yaml(), encoding="utf-8")

    def _data_yaml(self) -> str:
        comments = [f"# {self._header.title}: {sum(self._num_images.values())} images"]
        paths = {yolo_name(split): f"images/{split}" for split, number in self._num_images.items() if number}
        if "train" not in paths:
            comments.append("# every video here was released in another split before: there is nothing to train on")
        if "val" not in paths:
            # Ultralytics refuses a data set without `val`.
            comments.append("# no video fell into val: it points to train, so its metrics say nothing of new videos")
            paths["val"] = paths.get("train", f"images/{TRAIN_SPLIT}")
        content = {**paths, "names": dict(enumerate(self._header.class_names))}
        return "\n".join(comments) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def yolo_line(box: ReleaseBox, width: int, height: int) -> str:
    """Return one label line, including the newline."""
    x_min, y_min, x_max, y_max = box.box_xyxy
    values = (
        (x_min + x_max) / 2 / width,
        (y_min + y_max) / 2 / height,
        (x_max - x_min) / width,
        (y_max - y_min) / height,
    )
    return " ".join([str(box.class_index), *(f"{value:.{_DECIMALS}f}" for value in values)]) + "\n"


def yolo_polygon_line(box: ReleaseBox, width: int, height: int) -> str:
    """Return one label line with a polygon, including the newline."""
    shares = (_polygon_of(box) / [width, height]).ravel().tolist()
    return " ".join([str(box.class_index), *(f"{value:.{_DECIMALS}f}" for value in shares)]) + "\n"


def _polygon_of(box: ReleaseBox) -> npt.NDArray[np.float64]:
    return yolo_rectangle(box.box_xyxy) if box.mask is None else yolo_polygon(box.mask)


def read_yolo_polygons(path: Path) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Return the classes and polygons of one label file; (K, 2) points in 0..1.

    Raises:
        ValueError: a line is not a class and at least three points in 0..1.
    """
    polygons = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            class_index, *numbers = line.split()
            points = np.array(numbers, np.float64).reshape(-1, 2)
            polygons.append((int(class_index), points))
        except ValueError:
            raise ValueError(f"{path.name}: {line[:80]!r} is not a class and points") from None
        if len(points) < _MIN_POINTS or not ((points >= 0) & (points <= 1)).all():
            raise ValueError(f"{path.name}: {line[:80]!r} lies outside the image, or is no polygon")
    return polygons


def read_yolo_labels(path: Path) -> list[YoloBox]:
    """Return the boxes of one label file.

    Raises:
        ValueError: a line is not a class and four numbers in 0..1.
    """
    boxes = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            class_index, *numbers = line.split()
            x, y, width, height = (float(number) for number in numbers)
            box = (int(class_index), x, y, width, height)
        except ValueError:
            raise ValueError(f"{path.name}: {line!r} is not a class and four numbers") from None
        if not all(0 <= value <= 1 for value in (x, y, width, height)):
            raise ValueError(f"{path.name}: {line!r} lies outside the image")
        boxes.append(box)
    return boxes


def yolo_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems of `data.yaml` and `labels/`."""
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
    yield from file_number_problems(folder / "labels", expected.tally.num_images, suffix=".txt")


def _polygon_problems(image: ReleaseImage, found: Sequence[tuple[int, npt.NDArray[np.float64]]]) -> Iterator[str]:
    if len(found) != len(image.labels):
        yield f"{image.file_name}: {len(found)} labels, expected {len(image.labels)}"
        return
    for (class_index, points), box in zip(found, image.labels, strict=True):
        wanted = _polygon_of(box) / [image.width, image.height]
        if class_index != box.class_index:
            yield f"{image.file_name}: polygon {class_index} is not of box {box.class_index} {box.box_xyxy}"
        elif points.shape != wanted.shape or not (np.abs(points - wanted) <= _TOLERANCE).all():
            yield f"{image.file_name}: a polygon is not that of box {box.class_index} {box.box_xyxy}"


CODEC: Final = Codec(lambda to: YoloWriter(to.folder, to.header), (yolo_problems,))
