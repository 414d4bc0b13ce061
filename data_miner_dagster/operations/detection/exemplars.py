"""Prepare a project's classes and their exemplars for detectors.

Belongs here: adding exemplars to `ClassPrompts`, and computing their part of a fingerprint. Does not belong here:
finding the files (operations/exemplars.py), or using them in a detector (models/detectors/).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.errors import ConfigError, UnreadableImageError
from data_miner_dagster.domain.records import ClassPrompts, ExemplarImage, PictureFile, RgbImage
from data_miner_dagster.operations.exemplars import Exemplar
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures

ExemplarsByClass = Mapping[str, Sequence[Exemplar]]


def pictured_classes(
    config: DetectionConfig, exemplars: ExemplarsByClass, pictures: StoredPictures
) -> tuple[ClassPrompts, ...]:
    """Return a project's classes with their exemplars, in the order of the class list.

    Each exemplar is read through `pictures` when a detector uses it, so `pictures` must stay open until then.
    """
    return tuple(
        replace(
            wanted,
            exemplars=tuple(
                ExemplarImage(exemplar.sha256, image.boxes, partial(_read, exemplar, image.boxes, pictures))
                for exemplar, image in zip(
                    exemplars.get(wanted.class_name, ()), config.classes[wanted.class_name].images, strict=True
                )
            ),
        )
        for wanted in config.class_prompts
    )


def exemplar_basis(config: DetectionConfig, exemplars: ExemplarsByClass) -> dict[str, object]:
    """Return the exemplars' part of a fingerprint: each file's sha256 and boxes, but not its name.

    The result is empty if there are no exemplars.
    """
    shown = {
        name: [
            [exemplar.sha256, [list(box) for box in image.boxes]]
            for exemplar, image in zip(beside, config.classes[name].images, strict=True)
        ]
        for name, beside in exemplars.items()
    }
    return {"exemplars": shown} if shown else {}


def exemplar_metadata(paths_by_class: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the paths of each class's exemplars as outcome metadata, or an empty dict if there are no exemplars."""
    line = "; ".join(f"{name}: {', '.join(paths)}" for name, paths in paths_by_class.items())
    return {"exemplars": line} if line else {}


def _read(exemplar: Exemplar, boxes: Sequence[BoxXyxy], pictures: StoredPictures) -> RgbImage:
    try:
        image = pictures.read(PictureFile(exemplar.path, is_foreign=True), exemplar.sha256)
    except UnreadableImageError as error:
        raise ConfigError(
            f"detection: exemplar {exemplar.name} cannot be read ({error}); replace the file, or run the command again "
            "if the file has just been changed"
        ) from error
    height, width = image.shape[:2]
    for box in boxes:
        if box[2] > width or box[3] > height:
            raise ConfigError(
                f"detection: the box {list(box)} of exemplar {exemplar.name} extends beyond the {width} x {height} "
                "pixels of the image; correct the box"
            )
    return image
