"""What all detectors of transformers share: loading, batches that fit the device, precision, boxes from centres.

Belongs here: whatever holds for any network. Does not belong here: what a network is asked for, by phrases
(phrase_detector.py) or by the fixed names of its classes (class_detector.py).
"""

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np

from data_miner_dagster.domain.records import Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.batching import run_in_halves
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

Kind = TypeVar("Kind", bound="HubDetector")


class HubDetector(ABC):
    """A network with its own image processor, on a device."""

    nms_iou: ClassVar[float | None]
    """Of two boxes of a class that overlap by more than this, the less confident goes; None: none goes."""
    batches_any_size: ClassVar[bool]
    """False where images of one forward pass are padded to the largest: then only those of one size share a pass, so
    that an image's boxes never depend on its neighbours. The frames of a video are of one size."""

    def __init__(self, network: Any, image_processor: Any, *, name: str, fingerprint: str, device: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.network = network.eval().to(device)
        self.image_processor = image_processor

    def in_batches(
        self, images: Sequence[RgbImage], detect_together: Callable[[Sequence[RgbImage]], list[ImageDetections]]
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order, from as few forward passes as the architecture allows.

        Where the device's memory does not suffice, the batch is halved.

        Args:
            images: of any sizes; may be empty.
            detect_together: gets images that may share a forward pass.

        Raises:
            ModelError: memory does not suffice for one image.
        """
        found: list[ImageDetections] = [ImageDetections.empty()] * len(images)
        for rows in self._groups_of(images):

            def run(part: Sequence[int]) -> list[ImageDetections]:
                return detect_together([images[row] for row in part])

            for row, detections in zip(rows, run_in_halves(run, rows, model=self.name), strict=True):
                found[row] = detections
        return found

    def _groups_of(self, images: Sequence[RgbImage]) -> list[list[int]]:
        """Return rows of images that may share a forward pass."""
        if self.batches_any_size:
            return [list(range(len(images)))] if images else []
        rows_by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            rows_by_shape.setdefault(image.shape, []).append(row)
        return list(rows_by_shape.values())

    def pixels_of(self, images: Sequence[RgbImage]) -> Any:
        """Return what the architecture's own processor makes of images, on the device."""
        pixels = self.image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        return pixels.to(self.device)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """The context of a forward pass: no gradients; half precision on CUDA.

        float16, not bfloat16: with the latter's 8 bits a box edge at pixel 1,000 would be rounded to steps of 4.
        """
        import torch

        on_cuda = self.device.startswith("cuda")
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=on_cuda):
            yield


def load_pretrained(kind: type[Kind], network_class: Any, entry: ModelEntry, device: str, **parts: Any) -> Kind:
    """Load a network and its image processor from the hub's cache, the hub or a folder.

    Args:
        kind: the detector to make.
        network_class: of transformers.
        entry: of the registry.
        device: as the configuration names it.
        parts: whatever else `kind` is made from.

    Raises:
        ModelError: it cannot be had or is not what its entry says.
    """
    from transformers import AutoImageProcessor

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        network = network_class.from_pretrained(location, revision=revision, use_safetensors=True)
        image_processor = AutoImageProcessor.from_pretrained(location, revision=revision, trust_remote_code=False)
    return kind(
        network,
        image_processor,
        name=entry.name,
        fingerprint=entry.fingerprint,
        device=resolve_device(device),
        **parts,
    )


def boxes_from_centres(boxes_cxcywh: Float32Array, scale_wh: tuple[float, float]) -> Float32Array:
    """Return (N, 4) corners in pixels of (N, 4) centres and sizes relative to `scale_wh`."""
    centres, halves = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    corners: Float32Array = np.concatenate([centres - halves, centres + halves], axis=1)
    return corners * np.array([*scale_wh, *scale_wh], np.float32)
