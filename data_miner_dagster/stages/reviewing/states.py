"""The three states of a detected box: an object, unsure, or not an object."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from data_miner_dagster.config.releasing import VerifierRulesConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.verification import VerifierVerdict

SETTLING_DETECTORS: Final = 2
"""An unsure box on which this many detectors of an ensemble agree is an object."""


class BoxState(StrEnum):
    """The decision on whether a box shows an object."""

    OBJECT = "object"
    UNSURE = "unsure"  # it may be an object, but this is undecided
    NONE = "none"  # it is not an object


@dataclass(frozen=True, slots=True)
class ConfidenceRange:
    """The confidences of one class: objects from `threshold`, unsure boxes from `unsure_from` up to `threshold`."""

    unsure_from: float
    threshold: float

    def state_of(self, confidence: float, *, num_agreeing_detectors: int = 1) -> BoxState:
        """Return the state of a box that no person has judged.

        A box that would be unsure is an object if at least `SETTLING_DETECTORS` detectors agree on it. Confidences are
        compared as float32, so that a stored 0.7 reaches 0.7.
        """
        if np.float32(confidence) >= np.float32(self.threshold):
            return BoxState.OBJECT
        if np.float32(confidence) < np.float32(self.unsure_from):
            return BoxState.NONE
        return BoxState.OBJECT if num_agreeing_detectors >= SETTLING_DETECTORS else BoxState.UNSURE


@dataclass(frozen=True, slots=True)
class VerifierRules:
    """The rules for the state of a box, given a verifier's verdict and the state that the box had before it."""

    config: VerifierRulesConfig = field(default_factory=VerifierRulesConfig)

    @classmethod
    def of(cls, config: ProjectConfig) -> "VerifierRules":
        """Return a project's rules for the verdicts of its verifier."""
        return cls(config.releasing.verifier or VerifierRulesConfig())

    def state_of(self, state: BoxState, verdict: VerifierVerdict | None) -> BoxState:
        """Return the state of a box after a verifier's verdict.

        The state is unchanged if it is `BoxState.NONE`, or if `verdict` is None because no verifier has examined the
        box.
        """
        if state is BoxState.NONE or verdict is None:
            return state
        match verdict:
            case VerifierVerdict.CONFIRMED:
                return BoxState.OBJECT if self.config.confirmed == "object" else state
            case VerifierVerdict.REJECTED:
                return {"drop": BoxState.NONE, "unsure": BoxState.UNSURE, "by_confidence": state}[self.config.rejected]
            case VerifierVerdict.CANNOT_TELL:
                return BoxState.UNSURE if self.config.cannot_tell == "unsure" else state


@dataclass(frozen=True, slots=True)
class FrameClasses:
    """The class list of a project, the confidence range of each class in the same order, and the verifier's rules."""

    names: tuple[str, ...]
    ranges: tuple[ConfidenceRange, ...]
    verifier: VerifierRules = field(default_factory=VerifierRules)

    @classmethod
    def of(cls, config: ProjectConfig) -> "FrameClasses":
        """Return a project's classes, with their confidence ranges and the verifier's rules."""
        names, releasing = tuple(config.detection.classes), config.releasing
        ranges = (ConfidenceRange(releasing.unsure_from_of(name), releasing.threshold_of(name)) for name in names)
        return cls(names, tuple(ranges), VerifierRules.of(config))
