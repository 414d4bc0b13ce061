"""Measure, store and read the colours in boxes, for projects whose tracking links boxes by colour.

Colours are measured while a detector examines a picture, because the picture is decoded then anyway. The colours are
stored with the detector's boxes. Boxes that were stored by an earlier version, or without such tracking, lack colours.
Missing colours are measured on the stored picture, if it still exists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import ClassPrompts, PictureFile, RgbImage
from data_miner_dagster.domain.tables import COLOURS_COLUMN
from data_miner_dagster.media.box_colours import box_colours
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.stages.detection.boxes import DetectionRow, FrameDetections, iou_matrix
from data_miner_dagster.storage.by_video import runs_of

_SAME_BOX_IOU: Final = 0.5
"""The minimum IoU between a fused box and the detector's box whose colours it takes."""
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True, slots=True)
class StoredBoxes:
    """One detector's boxes on one frame, with the colours in each box.

    A box's colours are empty bytes if the box has no area or other boxes mostly cover it, and None if they are unknown.
    `boxes` is (N, 4), in pixels. Coordinates and confidences are rounded as in stored tables, so colours that are
    measured later on the stored picture have the same bytes.
    """

    boxes: npt.NDArray[np.float64]
    confidences: npt.NDArray[np.float64]
    class_names: Sequence[str]
    colours: Sequence[bytes | None]

    def measured(self, image: RgbImage) -> list[bytes]:
        """Return the colours in each box, measured on `image`, the picture of the frame."""
        found = box_colours(image, self.boxes, self.confidences)
        return [b"" if colours is None else colours.tobytes() for colours in found]


def with_colours(rows: Sequence[DetectionRow], image: RgbImage) -> list[DetectionRow]:
    """Return `rows`, the boxes on a picture, with the colours in each box added."""
    boxes = np.array([[row[name] for name in _CORNERS] for row in rows], np.float32).reshape(-1, 4)
    confidences = np.array([row["confidence"] for row in rows], np.float32)
    names = [str(row["class_name"]) for row in rows]
    stored = StoredBoxes(boxes.astype(np.float64), confidences.astype(np.float64), names, ())
    return [row | {COLOURS_COLUMN: colours} for row, colours in zip(rows, stored.measured(image), strict=True)]


def stored_boxes(table: pa.Table) -> Mapping[str, StoredBoxes]:
    """Return the boxes in a table of COLOURED_DETECTIONS_SCHEMA, by frame id. The column `mask` may be missing.

    Each frame's rows must be adjacent.
    """
    boxes = np.stack([table[name].to_numpy() for name in _CORNERS], axis=1).astype(np.float64)
    confidences = table["confidence"].to_numpy().astype(np.float64)
    names, colours = table["class_name"].to_pylist(), table[COLOURS_COLUMN].to_pylist()
    return {
        frame_id: StoredBoxes(boxes[start:stop], confidences[start:stop], names[start:stop], colours[start:stop])
        for frame_id, start, stop in runs_of(table["frame_id"].combine_chunks())
    }


class ColourReader:
    """Measures the unknown colours of stored boxes on the stored pictures."""

    def __init__(self, pictures: StoredPictures) -> None:
        self._pictures = pictures

    def complete(self, picture: PictureFile, sha256: str, stored: Sequence[StoredBoxes]) -> list[StoredBoxes]:
        """Return each detector's boxes on a picture, with the colours in each box.

        Unknown colours are measured on the picture. They stay unknown if the picture is unreadable.
        """
        if all(None not in each.colours for each in stored):
            return list(stored)
        try:
            image = self._pictures.read(picture, sha256)
        except UnreadableImageError:
            return list(stored)
        return [replace(each, colours=each.measured(image)) if None in each.colours else each for each in stored]


def colours_of(
    found: FrameDetections, stored: Sequence[StoredBoxes], classes: Sequence[ClassPrompts]
) -> list[Colours | None]:
    """Return the colours in each box on a frame, taken from the stored box of the same class that overlaps it most.

    An entry is None if no stored box of the class overlaps enough, or if the stored box has unknown colours, has no
    area, or is mostly covered by other boxes.
    """
    best: list[Colours | None] = [None] * len(found.detections.prompts)
    overlaps = np.full(len(best), np.nextafter(_SAME_BOX_IOU, 0))
    for of_detector in stored:
        ious = iou_matrix(found.detections.boxes_xyxy, of_detector.boxes)
        names = np.array(of_detector.class_names, np.object_)
        for row, class_index in enumerate(found.detections.class_indices.tolist()):
            ious[row, names != classes[class_index].class_name] = 0
            column = int(ious[row].argmax()) if ious.shape[1] else -1
            if column >= 0 and ious[row, column] > overlaps[row]:
                colours = of_detector.colours[column]
                best[row] = np.frombuffer(colours, np.uint8) if colours else None
                overlaps[row] = ious[row, column]
    return best
