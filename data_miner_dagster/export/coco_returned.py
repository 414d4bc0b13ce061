"""Read COCO detection JSON from any tool. The format states neither the annotator nor which images were examined."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_miner_dagster.domain.corrections import ReturnedBox, ReturnedImage
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.export.comparing import corners_of
from data_miner_dagster.export.round_trips import read_returned_json


def read_returned_coco(path: Path) -> Iterator[ReturnedImage]:
    """Yield the images in a COCO file with their boxes. `is_reviewed` is None, since the format does not state it.

    Raises:
        ConfigError: the file is missing, unreadable, too large, or not COCO detection JSON.
    """
    content = read_returned_json(path, "the tool")
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        annotations: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            annotations[annotation["image_id"]].append(annotation)
        for image in content["images"]:
            boxes = tuple(_box_of(annotation, image, names) for annotation in annotations[image["id"]])
            yield ReturnedImage(str(image["file_name"]), boxes, frame_id=image.get("frame_id"))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = f"{type(error).__name__}: {str(error)[:80]}"
        raise ConfigError(f"{path} is not COCO detection JSON ({why}); export it again as COCO JSON") from error


def _box_of(annotation: Mapping[str, Any], image: Mapping[str, Any], names: Mapping[Any, str]) -> ReturnedBox:
    width, height = float(image["width"]), float(image["height"])
    left, top, right, bottom = corners_of(*map(float, annotation["bbox"]))
    shares = (left / width, top / height, right / width, bottom / height)
    return ReturnedBox(names[annotation["category_id"]], shares, is_undecided=bool(annotation.get("iscrowd")))
