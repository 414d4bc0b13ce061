"""Evaluate confidences with verdicts: precision at a threshold, the threshold for a precision, and probabilities.

The boxes of a class are divided by confidence into strata. The review draws its questions from the same strata, which
are narrow near the threshold and wide far from it. Strata with many answers are divided further. Within a stratum, the
answers represent all its boxes, and each stratum is weighted by its number of boxes. Most questions can therefore be
asked near the threshold. Boxes on one frame are not independent; `design_effect` measures the lost information.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.quality import BoxAnswer, ClassCalibration, Estimate, ThresholdPrecision
from data_miner_dagster.stages.estimates import (
    FEWEST_ANSWERS,
    BoolArray,
    Float64Array,
    Int64Array,
    design_effect,
    draw_numbers,
    estimate_of,
    stratum_of,
)
from data_miner_dagster.stages.filtering.calibration import stratum_edges

WANTED_ANSWERS: Final = 150
"""The number of answers per class at which the interval of the chosen threshold's precision is about 0.15 wide."""
WIDEST_INTERVAL: Final = 0.16
THRESHOLD_DECIMALS: Final = 4
_ANSWERS_PER_STRATUM: Final = 18
_FEWEST_PER_STRATUM: Final = 4
_SMALL_SHARE: Final = 0.05
"""A stratum with less than this fraction of a class's boxes, and hardly any answers, is merged with a neighbour."""
_FEWEST_FOR_OWN_KNOTS: Final = 60
_CURVE_POINTS: Final = 20


@dataclass(frozen=True, slots=True)
class JudgedBoxes:
    """The A judged boxes of one class."""

    confidences: Float64Array  # (A,)
    is_right: BoolArray  # (A,)
    frames: Int64Array  # (A,) the number of each box's frame among the judged frames
    edges: Float64Array = field(default_factory=lambda: np.array([-np.inf, np.inf]))  # edges of strata, ascending

    @classmethod
    def of(cls, answers: Sequence[BoxAnswer], strata: Sequence[float] = ()) -> "JudgedBoxes":
        """Return stored answers as arrays. `strata` are the finite edges of the strata, ascending."""
        return cls(
            np.array([answer.confidence for answer in answers], np.float64),
            np.array([answer.is_right for answer in answers], np.bool_),
            np.array([answer.frame for answer in answers], np.int64),
            np.array([-np.inf, *strata, np.inf]),
        )

    def as_answers(self) -> tuple[BoxAnswer, ...]:
        """Return the judged boxes as answers to store, sorted by confidence."""
        order = np.lexsort((self.frames, self.is_right, self.confidences)).tolist()
        return tuple(BoxAnswer(float(self.confidences[i]), bool(self.is_right[i]), int(self.frames[i])) for i in order)


def strata_edges(confidences: Float64Array, population: Float64Array, threshold: float) -> Float64Array:
    """Return the ascending edges of the strata of a class. The outermost edges are infinite.

    Initially, the strata are those of the questions (stages/filtering/calibration.py). A stratum with many answers is
    divided into parts with equal numbers of answers. A small stratum with hardly any answers is merged with its smaller
    neighbour. A large stratum without answers remains, and its content is unknown.

    Args:
        confidences: confidences of the judged boxes.
        population: confidences of all boxes, ascending.
        threshold: the current threshold.
    """
    asked = stratum_edges(population - threshold) + threshold
    strata = stratum_of(confidences, asked)
    finer = [_even_edges(confidences[strata == stratum])[1:-1] for stratum in range(len(asked) - 1)]
    edges = np.unique(np.concatenate([asked, *finer]))
    while len(edges) > 2:
        sizes = np.diff(np.searchsorted(population, edges, side="left"))
        numbers = np.bincount(stratum_of(confidences, edges), minlength=len(sizes))
        poor = np.flatnonzero((numbers < _FEWEST_PER_STRATUM) & (sizes < _SMALL_SHARE * len(population)))
        if not len(poor):
            break
        stratum = int(poor[0])
        below, above = (sizes[at] if 0 <= at < len(sizes) else np.inf for at in (stratum - 1, stratum + 1))
        edges = np.delete(edges, stratum if below <= above else stratum + 1)
    return edges


def _even_edges(confidences: Float64Array) -> Float64Array:
    """Return ascending edges of strata with about equal numbers of answers. The outermost edges are infinite."""
    num_strata = max(1, len(confidences) // _ANSWERS_PER_STRATUM)
    if num_strata == 1:
        return np.array([-np.inf, np.inf])
    inner = np.quantile(confidences, np.arange(1, num_strata) / num_strata)
    return np.array([-np.inf, *np.unique(inner), np.inf])


def draw_precisions(population: Float64Array, judged: JudgedBoxes, threshold: float) -> tuple[Float64Array, int]:
    """Return (D,) draws of the number of correct boxes, and the number of all boxes, at or above a threshold.

    Args:
        population: confidences of all boxes of the class, ascending, including the judged boxes.
        judged: the judged boxes.
        threshold: the minimum confidence.
    """
    least = float(np.float32(threshold))  # a release compares confidences as float32
    edges = np.unique([*judged.edges, least])
    sizes = np.diff(np.searchsorted(population, edges, side="left"))
    strata = stratum_of(judged.confidences, edges)
    right = np.bincount(strata[judged.is_right], minlength=len(sizes))
    wrong = np.bincount(strata[~judged.is_right], minlength=len(sizes))
    # Boxes may have been removed since they were judged.
    sizes = np.maximum(sizes, right + wrong)
    expected = (right + 0.5) / (right + wrong + 1)
    is_above = judged.confidences >= least
    effect = design_effect((judged.is_right - expected[strata])[is_above], judged.frames[is_above])
    numbers = draw_numbers(sizes, right, wrong, design_effect=effect)
    taken = edges[:-1] >= least
    above: Float64Array = numbers[:, taken].sum(axis=1)
    return above, int(sizes[taken].sum())


def has_enough(population: Float64Array, judged: JudgedBoxes) -> bool:
    """Return whether there are enough answers for a conclusion.

    `FEWEST_ANSWERS` answers are enough, or one for each box if there are fewer boxes. At least one answer is needed.
    """
    return len(judged.confidences) >= min(FEWEST_ANSWERS, max(1, len(population)))


def precision_at(population: Float64Array, judged: JudgedBoxes, threshold: float) -> ThresholdPrecision | None:
    """Return the precision at a threshold, or None if no box reaches the threshold."""
    above, num_boxes = draw_precisions(population, judged, threshold)
    return ThresholdPrecision(threshold, estimate_of(above / num_boxes), num_boxes) if num_boxes else None


def lowest_threshold(population: Float64Array, judged: JudgedBoxes, wanted: float) -> float | None:
    """Return the lowest judged confidence at which the expected precision reaches `wanted`, or None if none does.

    There must be at least one judged box. Judged confidences are rounded down to `THRESHOLD_DECIMALS` decimal places
    first. The expectation for a box without an answer comes from a logistic curve through the answers, shifted in each
    stratum towards the observed share of correct boxes. A choice by these shares alone would favour thresholds above
    which the answers happened to be good.
    """
    edges = judged.edges
    strata = stratum_of(judged.confidences, edges)
    curve = _logistic_curve(judged)
    excess = np.bincount(strata, judged.is_right - curve(judged.confidences), minlength=len(edges) - 1)
    moves = excess / (np.bincount(strata, minlength=len(edges) - 1) + _ANSWERS_PER_STRATUM)

    def expected(confidences: Float64Array) -> Float64Array:
        return np.clip(curve(confidences) + moves[stratum_of(confidences, edges)], 0, 1)

    candidates = np.unique(np.floor(judged.confidences * 10**THRESHOLD_DECIMALS) / 10**THRESHOLD_DECIMALS)
    known = judged.is_right - expected(judged.confidences)
    right = _sum_from(candidates, population, expected(population)) + _sum_from(candidates, judged.confidences, known)
    numbers = _sum_from(candidates, population, np.ones_like(population))
    reaching = candidates[(numbers > 0) & (right >= wanted * numbers - 1e-9)]
    return float(reaching[0]) if len(reaching) else None


def _sum_from(thresholds: Float64Array, confidences: Float64Array, values: Float64Array) -> Float64Array:
    """Return the (T,) sums of the values whose confidences are at or above each threshold."""
    order = np.argsort(confidences, kind="stable")
    sums = np.append(np.cumsum(values[order][::-1])[::-1], 0.0)
    found: Float64Array = sums[np.searchsorted(confidences[order], thresholds)]
    return found


def _logistic_curve(judged: JudgedBoxes, num_steps: int = 12) -> Callable[[Float64Array], Float64Array]:
    """Fit a logistic curve to the answers by Newton's method with weak regularization, and return it as a function."""
    centre = judged.confidences.mean()
    columns = np.stack([np.ones_like(judged.confidences), judged.confidences - centre], axis=1)
    weights, pull = np.zeros(2), np.diag([0.1, 0.05])
    for _ in range(num_steps):
        shares = 1 / (1 + np.exp(-columns @ weights))
        curvature = columns.T * (shares * (1 - shares)) @ columns + pull
        weights += np.linalg.solve(curvature, columns.T @ (judged.is_right - shares) - pull @ weights)

    def curve(confidences: Float64Array) -> Float64Array:
        shares: Float64Array = 1 / (1 + np.exp(-(weights[0] + weights[1] * (confidences - centre))))
        return shares

    return curve


def calibrate_class(
    population: Float64Array, judged: JudgedBoxes, *, in_force: float, wanted: float, pooled: JudgedBoxes
) -> ClassCalibration:
    """Return the calibration of one class from its verdicts.

    Args:
        population: confidences of all boxes of the class, ascending.
        judged: the judged boxes. Their strata are determined here.
        in_force: the project's current threshold.
        wanted: the precision to reach, in 0..1.
        pooled: the judged boxes of all classes, for the probabilities of a class with few answers.
    """
    judged = replace(judged, edges=strata_edges(judged.confidences, population, in_force))
    num_answers = len(judged.confidences)
    is_enough = has_enough(population, judged)
    lowest = lowest_threshold(population, judged, wanted) if is_enough else None
    chosen = precision_at(population, judged, lowest) if lowest is not None else None
    is_pooled = num_answers < _FEWEST_FOR_OWN_KNOTS
    is_assured = chosen is not None and chosen.precision.low >= wanted
    num_more = min(_num_more(num_answers, chosen), max(0, len(population) - num_answers))
    return ClassCalibration(
        num_answers=num_answers,
        num_right=int(judged.is_right.sum()),
        in_force=precision_at(population, judged, in_force) if is_enough else None,
        chosen=chosen,
        is_assured=is_assured,
        num_more=num_more,
        remark=_remark(num_answers, chosen, wanted, num_more, is_enough=is_enough),
        curve=_curve(population, judged) if is_enough else (),
        knots=probability_knots(pooled if is_pooled else judged),
        is_pooled=is_pooled,
        answers=judged.as_answers(),
        strata=tuple(judged.edges[1:-1].tolist()),
    )


def _num_more(num_answers: int, chosen: ThresholdPrecision | None) -> int:
    if chosen is None:
        return max(0, WANTED_ANSWERS - num_answers)
    width = chosen.precision.high - chosen.precision.low
    if width <= WIDEST_INTERVAL:
        return 0
    # The width of an interval is inversely proportional to the square root of the number of answers.
    return max(WANTED_ANSWERS, round(num_answers * (width / WIDEST_INTERVAL) ** 2)) - num_answers


def _remark(
    num_answers: int, chosen: ThresholdPrecision | None, wanted: float, num_more: int, *, is_enough: bool
) -> str:
    if not is_enough and not num_more:
        return "no boxes of this class are stored"
    if not is_enough:
        given = counted(num_answers, "verdict is", "verdicts are")
        return f"{given} too few for a threshold; {num_more} more {'is' if num_more == 1 else 'are'} recommended"
    if chosen is None:
        more = f"; {counted(num_more, 'more verdict')} may show one" if num_more else ""
        return f"no threshold is known to reach a precision of {wanted:g}{more}"
    if chosen.precision.low == chosen.precision.high:
        return "every box at or above this threshold has been judged"
    if chosen.precision.low >= wanted:
        return f"precision is at least {wanted:g} with 97.5% probability"
    if num_more:
        more = counted(num_more, "more verdict")
        return f"precision may be as low as {chosen.precision.low:.2f}; {more} would narrow it down"
    return f"precision may be as low as {chosen.precision.low:.2f}"


def _curve(population: Float64Array, judged: JudgedBoxes) -> tuple[ThresholdPrecision, ...]:
    low, high = float(judged.confidences.min()), float(judged.confidences.max())
    thresholds = np.unique(np.round(np.linspace(low, high, _CURVE_POINTS), THRESHOLD_DECIMALS)).tolist()
    points = (precision_at(population, judged, threshold) for threshold in thresholds)
    return tuple(point for point in points if point is not None)


# --- the probability that a box is right ---


def probability_knots(judged: JudgedBoxes) -> tuple[tuple[float, float], ...]:
    """Return ascending (confidence, probability) pairs for `probabilities`, or () if there are too few answers.

    The share of correct boxes in each stratum is placed at the mean confidence of its answers. If a stratum's share is
    not larger than that of the stratum below, the two strata are merged.

    Source: Ayer et al. 1955, "An empirical distribution function for sampling with incomplete information"
    (pool adjacent violators).
    """
    if len(judged.confidences) < FEWEST_ANSWERS:
        return ()
    strata = stratum_of(judged.confidences, _even_edges(judged.confidences))
    blocks: list[tuple[float, float, float]] = []  # right, answers, sum of confidences
    for stratum in np.unique(strata).tolist():
        inside = strata == stratum
        blocks.append(
            (float(judged.is_right[inside].sum()), float(inside.sum()), float(judged.confidences[inside].sum()))
        )
        while len(blocks) > 1 and _share(blocks[-2]) >= _share(blocks[-1]):
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    return tuple((round(block[2] / block[1], 4), round(_share(block), 4)) for block in blocks)


def _share(block: tuple[float, float, float]) -> float:
    return (block[0] + 0.5) / (block[1] + 1)


def probabilities(knots: Sequence[tuple[float, float]], confidences: Float64Array) -> Float64Array:
    """Return the probability that a box of each confidence is right: linear between knots, constant beyond them.

    There must be at least one knot.
    """
    found: Float64Array = np.interp(confidences, [knot[0] for knot in knots], [knot[1] for knot in knots])
    return found


# --- several classes together ---


def overall_precision(
    populations: Mapping[str, Float64Array], judged: Mapping[str, JudgedBoxes], thresholds: Mapping[str, float]
) -> Estimate | None:
    """Return the combined precision of all boxes at or above the thresholds of their classes.

    The result is None if no class has a box at or above its threshold, or if a class with such a box has too few
    answers.
    """
    right: Float64Array | None = None
    num_boxes = 0
    for name, population in populations.items():
        if not (population >= np.float32(thresholds[name])).any():
            continue
        if not has_enough(population, judged[name]):
            return None
        above, number = draw_precisions(population, judged[name], thresholds[name])
        # Classes are drawn independently: the draws of one class must not correlate with those of another.
        above = np.random.default_rng(len(populations) + num_boxes).permutation(above)
        right = above if right is None else right + above
        num_boxes += number
    return None if right is None else estimate_of(right / num_boxes)
