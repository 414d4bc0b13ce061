"""Models that are planted instead of configured: fakes of the protocols, each in the role that a test gives it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.models.architectures import Capability
from data_miner_dagster.models.checksums import ModelFile
from data_miner_dagster.models.provider import DetectorRole, EncoderRole, ModelProvider, ModelRole, TrackerRole
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder
from data_miner_dagster.protocols.trackers import VideoTracker

Model = TypeVar("Model", ImageTextEncoder, ImageEncoder, ObjectDetector, VideoTracker)


@dataclass(frozen=True, slots=True)
class PlantedRole(ModelRole[Model], Generic[Model]):
    """A role with a given model, whose name is appended to `loads` each time it is loaded."""

    model: Model
    loads: list[str]

    @property
    def fingerprint(self) -> str:
        """The model's own fingerprint."""
        return self.model.fingerprint

    def load(self) -> Model:
        """Return the model, and append its name to `loads`."""
        self.loads.append(self.model.name)
        return self.model


class PlantedModels(ModelProvider):
    """A provider of the given models. The lite profile provides all other roles.

    The models may be changed or replaced at any time, because nothing about them is cached. `loads` has the name of
    each model that was loaded, in order.
    """

    def __init__(
        self,
        filter_encoder: ImageTextEncoder | None = None,
        dedup_encoder: ImageEncoder | None = None,
        detectors: Sequence[ObjectDetector] = (),
        trackers: Sequence[VideoTracker] = (),
    ) -> None:
        super().__init__(ModelsConfig(profile="lite"))
        self.planted_filter, self.planted_dedup = filter_encoder, dedup_encoder
        self.planted_detectors = {detector.name: detector for detector in detectors}  # the first is the default one
        self.planted_trackers = {tracker.name: tracker for tracker in trackers}
        self.loads: list[str] = []

    @property
    def filter_encoder(self) -> ModelRole[ImageTextEncoder]:
        """The planted filter encoder, or else that of the lite profile."""
        if self.planted_filter is None:
            return super().filter_encoder
        return self._planted(self.planted_filter, Capability.IMAGE_TEXT_ENCODER)

    @property
    def dedup_encoder(self) -> EncoderRole:
        """The planted dedup encoder, or else that of the lite profile."""
        if self.planted_dedup is None:
            return super().dedup_encoder
        return self._planted(self.planted_dedup, Capability.IMAGE_ENCODER)

    @property
    def detector(self) -> DetectorRole:
        """The first of the planted detectors, or else that of the lite profile."""
        return self._detector(next(iter(self.planted_detectors))) if self.planted_detectors else super().detector

    def _detector(self, name: str) -> DetectorRole:
        if name not in self.planted_detectors:
            return super()._detector(name)
        return self._planted(self.planted_detectors[name], Capability.DETECTOR)

    def video_tracker(self, name: str) -> TrackerRole:
        """Return the planted tracker with this name, or else the configured one."""
        if name not in self.planted_trackers:
            return super().video_tracker(name)
        return self._planted(self.planted_trackers[name], Capability.VIDEO_TRACKER)

    def _planted(self, model: Model, capability: Capability) -> PlantedRole[Model]:
        entry = ModelEntry(
            name=model.name,
            architecture="planted",
            capability=capability,
            source="pypi:planted",
            revision=None,
            licence="none",
            loader="",
            calibration=getattr(model, "calibration", None),
            files=(ModelFile("weights", model.fingerprint),),
        )
        return PlantedRole(entry, "cpu", model, self.loads)


@dataclass(slots=True)
class OneBox:
    """A detector that finds the same box, of the first requested class, in every image."""

    box_xyxy: tuple[int, int, int, int]
    expected_hw: tuple[int, int] | None = None  # the size of every image, or None for any size
    name: str = "one-box"
    fingerprint: str = "1"

    def detect(
        self,
        images: Sequence[RgbImage],
        _classes: Sequence[ClassPrompts],
        *,
        confidence_floor: float,  # noqa: ARG002 - of the protocol; its box is sure
    ) -> list[ImageDetections]:
        """Return the one box for each image."""
        assert self.expected_hw is None or {image.shape[:2] for image in images} <= {self.expected_hw}
        confidences, class_indices = np.array([0.9], np.float32), np.array([0], np.int32)
        found = ImageDetections(np.array([self.box_xyxy], np.float32), confidences, class_indices, ("thing",))
        return [found for _ in images]
