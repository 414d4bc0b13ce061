"""Read ground truth that users provide: a COCO file, or a folder in YOLO's layout.

Does not belong here: matching images with frames (matching_images.py).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.verdicts import RelativeBox

_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_IMAGES: Final = "images"
_LABELS: Final = "labels"
_YOLO_DATA: Final = "data.yaml"
_YOLO_FIELDS: Final = 5


@dataclass(frozen=True, slots=True)
class TruthObject:
    """One ground-truth object. The coordinates of its box are shares of the image's width and height.

    `area` is the area of the object as a share of the image's area. It can be smaller than the area of the box.
    """

    class_name: str
    box: RelativeBox
    area: float
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class TruthImage:
    """One ground-truth image with its objects. `frame_id` and `file` are None if they are unknown."""

    name: str
    objects: tuple[TruthObject, ...]
    frame_id: str | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """Ground truth from one source: its classes and images. `remarks` tell the user what was left out."""

    kind: str  # coco, yolo or reviewed
    name: str  # the name of the COCO file or YOLO folder, without its path; empty for reviewed
    class_names: tuple[str, ...]
    images: tuple[TruthImage, ...]
    remarks: tuple[str, ...] = ()


def read_truth(path: Path) -> Truth:
    """Return the ground truth in a COCO file or a YOLO folder. `path` is the file, the folder, or its YAML file.

    Raises:
        ConfigError: a file does not exist, cannot be read, or is not in COCO's or YOLO's format.
    """
    try:
        if path.is_dir():
            return _read_yolo(path, path / _YOLO_DATA)
        if path.suffix.lower() in (".yaml", ".yml"):
            return _read_yolo(path.parent, path)
        if not path.is_file():
            raise ConfigError(f"ground truth {path} does not exist; give a COCO file, a YOLO folder, or `reviewed`")
        return _read_coco(path)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(
            f"{error.filename or path} cannot be read ({why}); check the path and its permissions"
        ) from error


# --- COCO ---


def _read_coco(path: Path) -> Truth:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        annotations: dict[Any, list[Mapping[str, Any]]] = {}
        for annotation in content["annotations"]:
            annotations.setdefault(annotation["image_id"], []).append(annotation)
        images = tuple(_coco_image(path, entry, annotations.get(entry["id"], ()), names) for entry in content["images"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0][:120]
        raise ConfigError(f"{path} is not a valid COCO detection file ({why}); correct it") from error
    return Truth("coco", path.name, tuple(dict.fromkeys(names.values())), images)


def _coco_image(
    path: Path, entry: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], names: Mapping[Any, str]
) -> TruthImage:
    width, height, name = float(entry["width"]), float(entry["height"]), str(entry["file_name"])
    if not (width > 0 and height > 0):
        raise ValueError(f"image {name} has the invalid size {width:g} x {height:g}")
    objects = []
    for annotation in annotations:
        x_min, y_min, box_width, box_height = (float(value) for value in annotation["bbox"])
        shares = (x_min / width, y_min / height, (x_min + box_width) / width, (y_min + box_height) / height)
        if not all(map(math.isfinite, shares)) or box_width < 0 or box_height < 0:
            raise ValueError(f"annotation {annotation.get('id')} of {name} has the invalid box {annotation['bbox']}")
        area = float(annotation.get("area", box_width * box_height)) / (width * height)
        if (category_id := annotation["category_id"]) not in names:
            raise ValueError(f"annotation {annotation.get('id')} of {name} has the unknown category {category_id!r}")
        objects.append(TruthObject(names[category_id], shares, area, bool(annotation.get("iscrowd", False))))
    frame_id = entry.get("frame_id")
    candidates = (path.parent / name, path.parent / _IMAGES / name, path.parent.parent / _IMAGES / name)
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    return TruthImage(name, tuple(objects), str(frame_id) if frame_id is not None else None, file)


# --- YOLO ---


def _read_yolo(folder: Path, data_file: Path) -> Truth:
    names = _yolo_names(data_file)
    images = []
    labels = {path.relative_to(folder / _LABELS): path for path in sorted((folder / _LABELS).rglob("*.txt"))}
    pictures = {
        path.relative_to(folder / _IMAGES).with_suffix(".txt"): path
        for path in sorted((folder / _IMAGES).rglob("*"))
        if path.suffix.lower() in _PICTURES
    }
    for name, path in labels.items():
        file = pictures.get(name)
        shown = file.relative_to(folder / _IMAGES) if file is not None else name.with_suffix("")
        images.append(TruthImage(shown.as_posix(), tuple(_yolo_objects(path, names, data_file)), file=file))
    num_unlabelled = len(pictures.keys() - labels.keys())
    if not images:
        raise ConfigError(
            f"{folder} contains no label files (labels/**/*.txt), so it is not ground truth in YOLO format; give a "
            "folder that contains them"
        )
    remarks = []
    if num_unlabelled:
        are = "image without a label file is" if num_unlabelled == 1 else "images without a label file are"
        remarks = [f"{num_unlabelled:,} {are} left out, since the objects are unknown"]
    return Truth("yolo", folder.absolute().name, tuple(names.values()), tuple(images), tuple(remarks))


def _yolo_names(path: Path) -> dict[int, str]:
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; create it, since ground truth in YOLO format needs its class names")
    try:
        names = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
        entries = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(index): str(name) for index, name in entries}
    except (yaml.YAMLError, LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} has no valid class names; `names` must be a list, or a map from numbers to names"
        ) from error


def _yolo_objects(path: Path, names: Mapping[int, str], data_file: Path) -> Iterator[TruthObject]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = [float(value) for value in line.split()]
            if len(fields) != _YOLO_FIELDS or not all(map(math.isfinite, fields)):
                raise ValueError(counted(len(fields), "field"))
            class_index, x, y, width, height = fields
            name = names[int(class_index)]
        except (ValueError, KeyError) as error:
            raise ConfigError(
                f"line {number} of {path}, {line.strip()[:60]!r}, is not `class x y width height` with a class in "
                f"{data_file.name}; correct it"
            ) from error
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        yield TruthObject(name, box, width * height)
