"""Detect the objects in a picture that resemble those in given boxes (`data-miner try detect PICTURE --like BOX`)."""

from collections.abc import Sequence
from pathlib import Path

from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.errors import ConfigError, UnreadableImageError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.media.contact_sheets import TileBox, Verdict
from data_miner_dagster.models.architectures import ARCHITECTURES
from data_miner_dagster.models.provider import DetectorRole
from data_miner_dagster.operations.trials import Trial, TrialRow, read_in_batches
from data_miner_dagster.protocols.detectors import BoxPrompted


def check_takes_boxes(role: DetectorRole) -> None:
    """Check, without loading a model, that a detector accepts boxes on the examined picture as prompts.

    Raises:
        ConfigError: the architecture of the detector does not accept boxes on the examined picture.
    """
    family = ARCHITECTURES.get(role.entry.architecture)
    if family is None or not family.takes_boxes:
        able = sorted(name for name, other in ARCHITECTURES.items() if other.takes_boxes)
        raise ConfigError(
            f"`--like` cannot be used with detector {role.name!r}, because architecture {role.entry.architecture!r} "
            f"accepts no boxes as prompts; choose a detector of architecture {' or '.join(able)}, such as `--detector "
            "sam3`"
        )


def try_detect_like(
    role: DetectorRole, picture: Path, like: Sequence[BoxXyxy], unlike: Sequence[BoxXyxy], *, threshold: float
) -> Trial:
    """Detect the objects in a picture that resemble those in `like` and do not resemble those in `unlike`.

    Args:
        role: the detector.
        picture: the path of the picture.
        like: one or more boxes around objects to detect, in pixels of the upright picture.
        unlike: boxes around objects that are not wanted, in pixels of the upright picture.
        threshold: the lowest confidence of a detected box.

    Raises:
        ConfigError: the detector accepts no boxes, or a box extends beyond the picture.
        ModelError: the detector cannot be loaded.
        UnreadableImageError: the picture cannot be read.
    """
    check_takes_boxes(role)
    ((_, images, unreadable),) = read_in_batches([picture], 1)
    if unreadable:
        raise UnreadableImageError(f"{unreadable[0][1]}; choose another picture")
    height, width = images[0].shape[:2]
    for box in (*like, *unlike):
        if box[2] > width or box[3] > height:
            raise ConfigError(
                f"the box {list(box)} extends beyond the {width} x {height} pixels of {picture}; correct the box"
            )
    detector = role.load()
    assert isinstance(detector, BoxPrompted)
    found = detector.detect_like(images[0], like, unlike, confidence_floor=threshold)
    boxes = tuple(
        TileBox((box[0], box[1], box[2], box[3]), 0, f"{confidence:.2f}", mask)
        for box, confidence, mask in zip(
            found.boxes_xyxy.tolist(), found.confidences.tolist(), found.masks, strict=True
        )
    )
    shown = [TileBox(box, 1, "like") for box in like] + [TileBox(box, 2, "unlike") for box in unlike]
    places = ", ".join(f"{x:.0f},{y:.0f},{right - x:.0f},{bottom - y:.0f}" for x, y, right, bottom in found.boxes_xyxy)
    row = TrialRow(
        picture,
        (str(len(boxes)), boxes[0].label if boxes else "", places),
        counted(len(boxes), "box", "boxes"),
        Verdict.KEPT if boxes else Verdict.NEUTRAL,
        (*boxes, *shown),
    )
    return Trial(
        title=f"detect objects like {counted(len(like), 'box', 'boxes')} with {role.name}, confidence at or above "
        f"{threshold:g}",
        columns=("boxes", "best", "x,y,width,height"),
        rows=(row,),
        summary=f"1 image, {counted(len(boxes), 'box', 'boxes')}",
    )
