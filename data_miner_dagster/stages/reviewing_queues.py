"""Order the questions of the review, the most useful first. Pure functions of arrays.

    student          frames by the most confident box that only the annotations or only the student have, highest first
    unsure           fewest unsure boxes first, then frames with the rarest class, then nearest to a threshold
    disagreement     frames by their most confident box that not all detectors of an ensemble reported, highest first
    near_threshold   boxes drawn at random from strata of confidence, all classes in turn
    calibration      frames drawn at random from strata of similarity, so that the answers measure a threshold
    random           frames in a fixed pseudo-random order, so that the sample only grows
    filter           nearest to the filter's threshold first
    duplicates       group by group, least similar pair first, and in the same order within a group
    browsing         a class: nearest to its threshold first; a video: in order of time

Ties are broken by video, then time, then box. The same state gives the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.verification import VERDICT_CODES
from data_miner_dagster.stages.filtering.calibration import draw_in_strata, stratum_edges
from data_miner_dagster.stages.reviewing.states import SETTLING_DETECTORS, BoxState, FrameClasses, VerifierRules

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

BOXES_PER_CLASS: Final = 150
"""The number of questions about boxes near the threshold that suffices for a class."""
NO_OBJECT, UNSURE, OBJECT = 0, 1, 2
"""Codes of the state of a box in a release."""
_STATES: Final = (BoxState.NONE, BoxState.UNSURE, BoxState.OBJECT)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Questions and their sort keys. Questions are sorted by the keys in order, then by row, all ascending."""

    rows: Int64Array
    keys: tuple[Float64Array, ...]

    def order(self) -> Int64Array:
        """Return the positions of the questions in the order in which they are asked."""
        return np.lexsort((self.rows, *reversed(self.keys))).astype(np.int64)

    def is_after(self, keys: Sequence[float], row: int) -> npt.NDArray[np.bool_]:
        """Return a mask of the questions that come after a question with these keys and this row."""
        after = self.rows > row
        for values, mark in zip(reversed(self.keys), reversed(keys), strict=True):
            after = (values > mark) | ((values == mark) & after)
        return after

    def where(self, is_wanted: npt.NDArray[np.bool_]) -> "Ranking":
        """Return the questions where `is_wanted` is True."""
        return Ranking(self.rows[is_wanted], tuple(values[is_wanted] for values in self.keys))


@dataclass(frozen=True, slots=True)
class BoxRules:
    """The rules that determine the state of a box. Arrays of values by class are in the order of the class list."""

    thresholds: Float32Array
    unsure_from: Float32Array
    num_detectors: int
    by_verdict: npt.NDArray[np.int8] = field(default_factory=lambda: _states_by_verdict(VerifierRules()))
    """The code of a box's state after a verifier's verdict, indexed by the codes of verdict and earlier state."""

    @classmethod
    def of(cls, config: ProjectConfig) -> "BoxRules":
        """Return the rules of a project."""
        classes = FrameClasses.of(config)
        ranges = classes.ranges
        return cls(
            np.array([one.threshold for one in ranges], np.float32),
            np.array([one.unsure_from for one in ranges], np.float32),
            max(1, len(config.detection.detectors)),
            _states_by_verdict(classes.verifier),
        )


def _states_by_verdict(rules: VerifierRules) -> npt.NDArray[np.int8]:
    codes = [[_STATES.index(rules.state_of(state, verdict)) for state in _STATES] for verdict in VERDICT_CODES]
    return np.array(codes, np.int8)


@dataclass(frozen=True, slots=True)
class BoxArrays:
    """N boxes of examined frames. `frames` are positions of frames, `classes` positions in the class list.

    `num_agreeing` is the number of detectors that agree on each box.
    """

    frames: npt.NDArray[np.integer]
    classes: npt.NDArray[np.integer]
    confidences: Float32Array
    num_agreeing: npt.NDArray[np.integer]
    verdicts: npt.NDArray[np.integer]  # a verifier's verdicts, as positions in VERDICT_CODES

    def some(self, where: slice | Int64Array) -> "BoxArrays":
        """Return the boxes at the given positions."""
        return BoxArrays(
            self.frames[where],
            self.classes[where],
            self.confidences[where],
            self.num_agreeing[where],
            self.verdicts[where],
        )


def box_states(boxes: BoxArrays, rules: BoxRules) -> npt.NDArray[np.int8]:
    """Return the code of each box's state as if no person had judged the box."""
    confidences = boxes.confidences
    could_be = confidences >= rules.unsure_from[boxes.classes]
    is_object = (confidences >= rules.thresholds[boxes.classes]) | (
        could_be & (boxes.num_agreeing >= SETTLING_DETECTORS)
    )
    states = np.where(is_object, OBJECT, np.where(could_be, UNSURE, NO_OBJECT))
    after_verdict: npt.NDArray[np.int8] = rules.by_verdict[boxes.verdicts, states]
    return after_verdict


class FrameFacts:
    """The sort keys of N frames, collected from boxes that arrive in any order and in several parts."""

    def __init__(self, num_frames: int) -> None:
        self.num_unsure = np.zeros(num_frames, np.uint16)
        self.rarity = np.full(num_frames, np.iinfo(np.uint32).max, np.uint32)
        """(N,) The number of objects in the project that have the rarest class among the frame's unsure boxes."""
        self.distance = np.full(num_frames, np.inf, np.float32)
        """(N,) The smallest difference between the confidence of an unsure box and the threshold of its class."""
        self.disagreement = np.full(num_frames, -1, np.float32)
        """(N,) The confidence of a frame's most confident object or unsure box that not all detectors reported, or -1
        if it has no such box."""

    def add(self, boxes: BoxArrays, rules: BoxRules, num_objects: Int64Array) -> None:
        """Add boxes. `num_objects` is the number of objects in the project, by class."""
        states = box_states(boxes, rules)
        unsure = np.flatnonzero(states == UNSURE)
        frames, classes = boxes.frames[unsure], boxes.classes[unsure]
        np.add.at(self.num_unsure, frames, np.uint16(1))
        np.minimum.at(self.rarity, frames, num_objects[classes].astype(np.uint32))
        np.minimum.at(self.distance, frames, np.abs(boxes.confidences[unsure] - rules.thresholds[classes]))
        disputed = np.flatnonzero((states != NO_OBJECT) & (boxes.num_agreeing < rules.num_detectors))
        np.maximum.at(self.disagreement, boxes.frames[disputed], boxes.confidences[disputed])

    def clear(self, frames: Int64Array) -> None:
        """Reset the keys of some frames, as if they had no boxes."""
        self.num_unsure[frames], self.rarity[frames] = 0, np.iinfo(np.uint32).max
        self.distance[frames], self.disagreement[frames] = np.inf, -1

    def copy(self) -> "FrameFacts":
        """Return an independent copy."""
        copied = FrameFacts(0)
        copied.num_unsure, copied.rarity = self.num_unsure.copy(), self.rarity.copy()
        copied.distance, copied.disagreement = self.distance.copy(), self.disagreement.copy()
        return copied


def rank_unsure(facts: FrameFacts, rows: Int64Array) -> Ranking:
    """Rank the frames with unsure boxes. `rows` are the rows of all frames."""
    where = np.flatnonzero(facts.num_unsure)
    keys = (facts.num_unsure[where], facts.rarity[where], facts.distance[where])
    return Ranking(rows[where], tuple(key.astype(np.float64) for key in keys))


def rank_disagreement(facts: FrameFacts, rows: Int64Array) -> Ranking:
    """Rank frames with objects or unsure boxes that not all detectors reported. `rows` are the rows of all frames."""
    where = np.flatnonzero(facts.disagreement >= 0)
    return Ranking(rows[where], (-facts.disagreement[where].astype(np.float64),))


def rank_random(numbers: UInt64Array, rows: Int64Array) -> Ranking:
    """Rank frames by their sampling numbers."""
    return Ranking(rows, ((numbers >> np.uint64(11)).astype(np.float64),))  # integers that a float64 represents exactly


def rank_calibration(rows: Int64Array, turns: Float64Array) -> Ranking:
    """Rank the frames of a calibration by `turns`, their positions in the order of the questions."""
    return Ranking(rows, (turns,))


def rank_duplicates(rows: Int64Array, representatives: Int64Array, similarities: Float64Array) -> Ranking:
    """Rank pairs of a duplicate and its representative.

    Pairs with the same representative are adjacent, least similar first.

    Args:
        rows: (N,) rows of the duplicates.
        representatives: (N,) any numbers that distinguish representatives.
        similarities: (N,) similarities of the pairs.
    """
    _, groups = np.unique(representatives, return_inverse=True)
    lowest = np.full(len(rows), np.inf)
    np.minimum.at(lowest, groups, similarities)
    return Ranking(rows, (lowest[groups], representatives.astype(np.float64), similarities))


def draw_near_threshold(
    confidences: Float32Array, threshold: float, numbers: UInt64Array
) -> tuple[Int64Array, Float64Array]:
    """Choose the boxes of one class that are most informative about its threshold.

    Each side of the threshold has strata of confidence, narrow near it and wide away from it. Questions are
    divided among the strata as in the filter's calibration. Within a stratum, the lowest sampling numbers come first.

    Returns:
        The indices of the chosen boxes, and the position of each in the order of the questions, divided by
        `BOXES_PER_CLASS`. The questions up to any position are spread over the strata in the same way as all
        questions. Positions of at least 1 are for people who continue after `BOXES_PER_CLASS` questions.
    """
    headroom = confidences.astype(np.float64) - threshold
    return draw_in_strata(headroom, stratum_edges(headroom), numbers, BOXES_PER_CLASS)


class NearestToZero:
    """Keeps up to `most` rows, those with the values nearest to zero, from a stream of any length."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows = np.zeros(0, np.int64)
        self.values = np.zeros(0, np.float64)

    def add(self, rows: Int64Array, values: Float64Array) -> None:
        """Add rows with their values. Among rows whose values are equally near to zero, lower rows are preferred."""
        self.rows, self.values = np.concatenate([self.rows, rows]), np.concatenate([self.values, values])
        kept = np.sort(np.lexsort((self.rows, np.abs(self.values)))[: self._most])
        self.rows, self.values = self.rows[kept], self.values[kept]
