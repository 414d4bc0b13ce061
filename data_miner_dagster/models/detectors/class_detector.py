"""Code shared by transformers' detectors with fixed class names: their names, and one class per box.

Belongs here: everything except the network. Does not belong here: how one architecture interprets its logits (its own
module), and matching a class list with names (models/vocabulary.py).
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.detectors.hub_detector import HubDetector, boxes_from_centres, load_pretrained, mask_of
from data_miner_dagster.models.hub import check_network, configuration_location, hub_errors
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.vocabulary import match_vocabulary

if TYPE_CHECKING:
    import torch


class ClassDetector(HubDetector):
    """Implements ObjectDetector. A box is returned only if the most likely of all its classes was requested.

    The network must belong to the DETR family. Its outputs are `logits` (N, Q, C) and `pred_boxes` (N, Q, 4), the
    centres and sizes of boxes relative to the image. Some networks also return `pred_masks` (N, Q, H, W), which are
    logits.
    """

    nms_iou: ClassVar[float | None] = None  # these networks are trained to find each object only once

    @staticmethod
    @abstractmethod
    def confidences_of(logits: "torch.Tensor") -> "torch.Tensor":
        """Return an (N, Q, C) tensor with the confidence, from 0 to 1, of each candidate box for each class name."""

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names of the network's classes, in the order of the outputs."""
        return _names_in(self.network.config)

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order.

        Raises:
            ConfigError: a class matches none of the network's names, or two classes match the same name.
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
        found = []
        for row, image in enumerate(images):
            best = confidences[row].argmax(axis=1)
            confidence = confidences[row][np.arange(len(best)), best]
            kept = np.flatnonzero((confidence >= confidence_floor) & np.isin(best, list(wanted)))
            image_wh = (image.shape[1], image.shape[0])
            found.append(
                detections_from_candidates(
                    boxes_from_centres(boxes[row][kept], image_wh),
                    confidence[kept],
                    np.array([wanted[index][0] for index in best[kept].tolist()], np.int32),
                    [wanted[index][1] for index in best[kept].tolist()],
                    image_wh=image_wh,
                    nms_iou=self.nms_iou,
                    masks=_masks_of(outputs, row, kept, image_wh),
                )
            )
        return found


def _masks_of(
    outputs: Any, row: int, kept: npt.NDArray[np.intp], image_wh: tuple[int, int]
) -> Callable[[int], Mask] | None:
    """Return a function that maps a kept candidate's position to its mask, or None if the network predicts no masks."""
    if getattr(outputs, "pred_masks", None) is None:
        return None
    logits = outputs.pred_masks[row][kept.tolist()].float().cpu()
    return lambda candidate: mask_of(logits[candidate], image_wh, threshold=0.0)


def load_class_detector(kind: type[ClassDetector], entry: ModelEntry, device: str) -> ClassDetector:
    """Load a detector with fixed class names from the hub's cache, the hub or a folder.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded, or has another architecture.
    """
    import transformers

    # A checkpoint that names no class is assumed to detect boxes.
    (name,) = check_network(entry)[:1] or ("AutoModelForObjectDetection",)
    return load_pretrained(kind, getattr(transformers, name), entry, device)


def class_names(entry: ModelEntry) -> tuple[str, ...]:
    """Return the class names of a checkpoint, in the order of its outputs, without reading its weights.

    Raises:
        ModelError: the configuration cannot be loaded, or has another architecture.
    """
    from transformers import AutoConfig

    check_network(entry)
    location, revision = configuration_location(entry)
    with hub_errors(entry):
        return _names_in(AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False))


def _names_in(config: Any) -> tuple[str, ...]:
    names: Mapping[int, str] = config.id2label
    return tuple(names[index] for index in sorted(names))
