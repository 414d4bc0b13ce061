"""The three states of a detected box: an object, unsure, or none."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from data_miner_dagster.config.settings import ProjectConfig

SETTLING_DETECTORS: Final = 2
"""An unsure box on which this many detectors of an ensemble agree is an object."""


class BoxState(StrEnum):
    """What a box stands for."""

    OBJECT = "object"
    UNSURE = "unsure"  # it may be an object, and nobody has decided
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ConfidenceRange:
    """The confidences of one class: objects from `threshold`, unsure boxes from `unsure_from` up to it."""

    unsure_from: float
    threshold: float

    def state_of(self, confidence: float, *, num_agreeing_detectors: int = 1) -> BoxState:
        """Return the state of a box that no person has judged. Compares in float32: a stored 0.7 reaches 0.7."""
        if np.float32(confidence) >= np.float32(self.threshold):
            return BoxState.OBJECT
        if np.float32(confidence) < np.float32(self.unsure_from):
            return BoxState.NONE
        return BoxState.OBJECT if num_agreeing_detectors >= SETTLING_DETECTORS else BoxState.UNSURE


@dataclass(frozen=True, slots=True)
class FrameClasses:
    """The class list of a project, and the confidence range of each class, in the same order."""

    names: tuple[str, ...]
    ranges: tuple[ConfidenceRange, ...]

    @classmethod
    def of(cls, config: ProjectConfig) -> "FrameClasses":
        """Return the classes of a project."""
        names, releasing = tuple(config.detection.classes), config.releasing
        ranges = (ConfidenceRange(releasing.unsure_from_of(name), releasing.threshold_of(name)) for name in names)
        return cls(names, tuple(ranges))
