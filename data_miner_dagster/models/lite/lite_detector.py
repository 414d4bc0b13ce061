"""The `lite` detector: YOLOv3-tiny, pretrained on COCO's 80 classes, as an ObjectDetector on the CPU."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.lite.darknet import (
    MAX_FORWARD_IMAGES,
    Letterboxed,
    YoloV3Tiny,
    letterbox,
    unletterbox_boxes,
)
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import YOLOV3_TINY
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.vocabulary import COCO_CLASS_NAMES, match_vocabulary

NMS_IOU: Final = 0.45
"""The IoU above which the less confident of two boxes is removed: Darknet's default, used for its published figures."""


def load(entry: ModelEntry, _device: str) -> "LiteDetector":
    """Load an entry of architecture `yolov3-tiny`. The network is so small that it always runs on the CPU.

    Raises:
        ModelError: a file is missing or invalid, or does not match its pin.
    """
    folder = entry.folder if entry.scheme == "file" else package_folder(YOLOV3_TINY)
    return LiteDetector(YoloV3Tiny.load(folder), name=entry.name, fingerprint=entry.fingerprint)


def class_names(_entry: ModelEntry) -> tuple[str, ...]:
    """Return COCO's class names, which all YOLOv3-tiny weights use."""
    return COCO_CLASS_NAMES


class LiteDetector:
    """Implements ObjectDetector. A box is returned only if the most likely of the 80 classes was requested."""

    def __init__(self, network: YoloV3Tiny, *, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self._network = network

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order. Each forward pass processes up to 8 images.

        Raises:
            ConfigError: a class matches none of COCO's 80 names, or two classes match the same name.
        """
        wanted = match_vocabulary(self._network.class_names, classes, detector=self.name)
        found: list[ImageDetections] = []
        for start in range(0, len(images), MAX_FORWARD_IMAGES):
            part = images[start : start + MAX_FORWARD_IMAGES]
            squares = [letterbox(image) for image in part]
            boxes, confidences = self._network.boxes_and_confidences(np.stack([square.image for square in squares]))
            found += [
                _choose(boxes[row], confidences[row], squares[row], image, wanted, confidence_floor)
                for row, image in enumerate(part)
            ]
        return found


def _choose(
    boxes_xyxy: Float32Array,
    confidences: Float32Array,
    square: Letterboxed,
    image: RgbImage,
    wanted: Mapping[int, tuple[int, str]],
    confidence_floor: float,
) -> ImageDetections:
    """Return the detections among the candidates (2535 boxes x 80 classes) of one image."""
    best = confidences.argmax(axis=1)
    confidence = confidences[np.arange(len(best)), best]
    rows = np.flatnonzero((confidence >= confidence_floor) & np.isin(best, list(wanted)))
    image_wh = (image.shape[1], image.shape[0])
    return detections_from_candidates(
        unletterbox_boxes(boxes_xyxy[rows], square.scale, square.pad_xy, image_wh),
        confidence[rows],
        np.array([wanted[index][0] for index in best[rows]], np.int32),
        [wanted[index][1] for index in best[rows]],
        image_wh=image_wh,
        nms_iou=NMS_IOU,
    )
