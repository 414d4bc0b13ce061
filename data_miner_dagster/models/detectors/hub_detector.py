"""Code shared by all detectors from transformers: loading, batches that fit the device, precision, boxes from centres.

Belongs here: code for every network. Does not belong here: detection by phrase (phrase_detector.py) or by fixed class
name (class_detector.py).
"""

from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.batching import run_in_halves
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch

Kind = TypeVar("Kind", bound="HubDetector")


class HubDetector(ABC):
    """The base class of detectors from transformers: a network with its own image processor, on a device."""

    nms_iou: ClassVar[float | None]
    """If two boxes of a class have a higher IoU, the less confident is removed. If this is None, no box is removed."""
    batches_any_size: bool
    """False if the images of a forward pass are padded to the largest. In that case, only images of equal size share a
    pass, so that an image's boxes never depend on its neighbours. All frames of a video have the same size."""

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

        If the device runs out of memory, the batch is halved.

        Args:
            images: images of any size. The sequence may be empty.
            detect_together: a function that takes images that may share a forward pass, and returns the detections of
                each, in order.

        Raises:
            ModelError: there is too little memory for a single image.
        """
        found: list[ImageDetections] = [ImageDetections.empty()] * len(images)
        for rows in self._groups_of(images):

            def run(part: Sequence[int]) -> list[ImageDetections]:
                return detect_together([images[row] for row in part])

            for row, detections in zip(rows, run_in_halves(run, rows, model=self.name), strict=True):
                found[row] = detections
        return found

    def _groups_of(self, images: Sequence[RgbImage]) -> list[list[int]]:
        """Return groups of indices into `images` that may share a forward pass."""
        if self.batches_any_size:
            return [list(range(len(images)))] if images else []
        rows_by_shape: dict[tuple[int, ...], list[int]] = {}
        for row, image in enumerate(images):
            rows_by_shape.setdefault(image.shape, []).append(row)
        return list(rows_by_shape.values())

    def pixels_of(self, images: Sequence[RgbImage]) -> Any:
        """Return the output of the architecture's own image processor, on the device."""
        pixels = self.image_processor(images=list(images), input_data_format="channels_last", return_tensors="pt")
        return pixels.to(self.device)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run the `with` block as a forward pass: without gradients, and in half precision on CUDA.

        The pass uses float16 rather than bfloat16, whose 8 significant bits would round a box edge at pixel 1,000 to a
        multiple of 4.
        """
        import torch

        on_cuda = self.device.startswith("cuda")
        with torch.inference_mode(), torch.autocast("cuda", dtype=torch.float16, enabled=on_cuda):
            yield


def load_pretrained(kind: type[Kind], network_class: Any, entry: ModelEntry, device: str, **parts: Any) -> Kind:
    """Load a network and its image processor from the hub's cache, the hub or a folder.

    Args:
        kind: the detector class to instantiate.
        network_class: the network's class in transformers.
        entry: the registry entry.
        device: the device as named in the configuration.
        parts: further constructor arguments of `kind`.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded or does not match its entry.
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
    """Convert (N, 4) centres and sizes, relative to `scale_wh`, to (N, 4) corners in pixels."""
    centres, halves = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:] / 2
    corners: Float32Array = np.concatenate([centres - halves, centres + halves], axis=1)
    return corners * np.array([*scale_wh, *scale_wh], np.float32)


def mask_of(values: "torch.Tensor", image_wh: tuple[int, int], threshold: float) -> Mask:
    """Resize (H, W) `values` to the image, and return the mask of the pixels whose value is above `threshold`."""
    from torch.nn.functional import interpolate

    whole = interpolate(values[None, None], size=image_wh[::-1], mode="bilinear", align_corners=False)
    return Mask.of((whole[0, 0] > threshold).numpy())
