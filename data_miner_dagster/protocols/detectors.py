"""The detector interfaces of the detection stage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from data_miner_dagster.domain.box_shares import BoxXyxy
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage


@runtime_checkable
class ObjectDetector(Protocol):
    """Detects objects of given classes.

    `fingerprint` changes with the weights, the revision, the preprocessing and the postprocessing.
    """

    name: str
    fingerprint: str

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the detections of each image, in order, with a confidence of at least `confidence_floor`.

        Raises:
            ConfigError: the detector cannot search for one of the classes: it has fixed classes and no prompt names one
                of them, a phrase is too long, or an exemplar cannot be read or is not accepted.
            ModelError: the device does not have enough memory for one image.
        """
        ...


@runtime_checkable
class BoxPrompted(Protocol):
    """Finds objects that resemble those in given boxes of the same image."""

    def detect_like(
        self,
        image: RgbImage,
        like: Sequence[BoxXyxy],
        unlike: Sequence[BoxXyxy] = (),
        *,
        confidence_floor: float,
    ) -> ImageDetections:
        """Return the objects of an image that resemble those in `like` but not those in `unlike`, all as class 0.

        Args:
            image: the image.
            like: one or more boxes around objects of the wanted kind, in absolute pixels.
            unlike: boxes around objects of other kinds.
            confidence_floor: the minimum confidence (inclusive).
        """
        ...
