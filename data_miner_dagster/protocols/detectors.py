"""The detector interface of the detection stage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage


@runtime_checkable
class ObjectDetector(Protocol):
    """Detects objects of given classes. `fingerprint` changes with weights, revision, and pre- and post-processing."""

    name: str
    fingerprint: str

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order, with confidence at or above `confidence_floor`.

        Raises:
            ConfigError: the detector has fixed classes, and a class has no prompt that names one of them.
        """
        ...
