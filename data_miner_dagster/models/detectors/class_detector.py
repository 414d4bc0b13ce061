"""The shared part of transformers detectors with fixed class names: their names, and one class per box.

Belongs here: everything but the network. Does not belong here: how one architecture interprets its logits (its own
module), and matching a class list with names (models/vocabulary.py).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.detectors.hub_detector import HubDetector, boxes_from_centres, load_pretrained
from data_miner_dagster.models.hub import check_network, hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.vocabulary import match_vocabulary

if TYPE_CHECKING:
    import torch


class ClassDetector(HubDetector):
    """Implements ObjectDetector. A box is returned only if its most likely class of all is one that was requested.

    For networks of the DETR family, whose outputs are `logits` (N, Q, C) and `pred_boxes` (N, Q, 4): centres and sizes
    relative to the image.
    """

    nms_iou: ClassVar[float | None] = None  # these networks are trained to find every object once

    @staticmethod
    @abstractmethod
    def confidences_of(logits: "torch.Tensor") -> "torch.Tensor":
        """Return the confidence (N, Q, C) of each candidate box for each of the C names, from 0 to 1."""

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names of the network's classes, in the order of its outputs."""
        return _names_in(self.network.config)

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Raises:
            ConfigError: a class matches none of the network's names.
            ModelError: there is too little memory for a single image.
        """
        wanted = match_vocabulary(self.known_names, classes, detector=self.name)
        return self.in_batches(images, partial(self._detect_together, wanted=wanted, confidence_floor=confidence_floor))

    def _detect_together(
        self, images: Sequence[RgbImage], *, wanted: Mapping[int, tuple[int, str]], confidence_floor: float
    ) -> list[ImageDetections]:
        pixels = self.pixels_of(images)
        with self.inference():
            outputs = self.network(**pixels)
            confidences = self.confidences_of(outputs.logits.float()).cpu().numpy()
            boxes = outputs.pred_boxes.float().cpu().numpy()
        return [
            _choose(boxes[row], confidences[row], image, wanted, confidence_floor, self.nms_iou)
            for row, image in enumerate(images)
        ]


def _choose(
    boxes_cxcywh: Float32Array,
    confidences: Float32Array,
    image: RgbImage,
    wanted: Mapping[int, tuple[int, str]],
    confidence_floor: float,
    nms_iou: float | None,
) -> ImageDetections:
    """Return the detections among the candidates (Q boxes, C classes) of one image."""
    best = confidences.argmax(axis=1)
    confidence = confidences[np.arange(len(best)), best]
    rows = np.flatnonzero((confidence >= confidence_floor) & np.isin(best, list(wanted)))
    image_wh = (image.shape[1], image.shape[0])
    return detections_from_candidates(
        boxes_from_centres(boxes_cxcywh[rows], image_wh),
        confidence[rows],
        np.array([wanted[index][0] for index in best[rows].tolist()], np.int32),
        [wanted[index][1] for index in best[rows].tolist()],
        image_wh=image_wh,
        nms_iou=nms_iou,
    )


def load_class_detector(kind: type[ClassDetector], entry: ModelEntry, device: str) -> ClassDetector:
    """Load a detector with fixed class names from the hub's cache, the hub or a folder.

    Raises:
        ModelError: it cannot be loaded, or is of another architecture.
    """
    from transformers import AutoModelForObjectDetection

    check_network(entry)
    return load_pretrained(kind, AutoModelForObjectDetection, entry, device)


def class_names(entry: ModelEntry) -> tuple[str, ...]:
    """Return the class names of a checkpoint, in the order of its outputs. Reads no weights.

    Raises:
        ModelError: the checkpoint cannot be loaded, or is of another architecture.
    """
    from transformers import AutoConfig

    check_network(entry)
    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        return _names_in(AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False))


def _names_in(config: Any) -> tuple[str, ...]:
    names: Mapping[int, str] = config.id2label
    return tuple(names[index] for index in sorted(names))
