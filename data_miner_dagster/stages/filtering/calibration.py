"""Estimate a threshold and its uncertainty from keep-or-drop answers on a few frames. Pure functions, no model.

Frames are compared by *headroom*: positive similarity minus the current threshold, so the decision changes at 0. They
are sampled at random within strata, which are narrow near the threshold and wide far from it. The headroom of every
frame is known, so each answer represents a known number of frames. A candidate threshold splits the stratum it falls
into. stages/estimates.py derives shares from answers.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.quality import Estimate
from data_miner_dagster.stages.estimates import (
    FEWEST_ANSWERS,
    Float64Array,
    Int64Array,
    draw_numbers,
    estimate_of,
    stratum_of,
)
from data_miner_dagster.stages.sampling import mixed_numbers

Goal = Literal["precision", "recall"]

STRATA_PER_SIDE: Final = 4
_GROWTH: Final = 3
"""The ratio of a stratum's frame count to the frame count of its neighbour nearer the threshold."""
_NEAREST_SHARE: Final = 0.4
"""The fraction of a side's questions that go to the stratum next to the threshold. The rest is divided equally among
the other strata."""
_MOST_CANDIDATES: Final = 100


def stratum_edges(headroom: Float64Array) -> Float64Array:
    """Return the (S+1,) ascending edges of half-open strata that cover all values.

    One edge is 0, the current threshold. Each side of 0 has up to STRATA_PER_SIDE strata, with frame counts in the
    approximate ratio 1 : 3 : 9 : 27 outwards.
    """
    inner: list[float] = [0.0]
    shares = np.cumsum([_GROWTH**i for i in range(STRATA_PER_SIDE - 1)]) / sum(
        _GROWTH**i for i in range(STRATA_PER_SIDE)
    )
    above = np.sort(headroom[headroom >= 0])
    below = -np.sort(-headroom[headroom < 0])
    for side in (above, below):
        if len(side):
            inner += side[(shares * len(side)).astype(np.int64)].tolist()
    return np.array([-np.inf, *sorted(set(inner)), np.inf])


def questions_per_stratum(edges: Float64Array, sizes: Sequence[int], num_questions: int) -> list[int]:
    """Return the number of frames to ask about in each stratum, never more than it contains.

    Each side of the current threshold gets half of the questions. Questions that a small stratum or side cannot use
    go to the others.
    """
    lower = edges[:-1]
    wanted = [0] * len(lower)

    def spend(strata: Sequence[int], budget: int) -> None:
        for stratum in strata:
            spare = budget - sum(wanted[other] for other in strata)
            wanted[stratum] += max(0, min(spare, sizes[stratum] - wanted[stratum]))

    for side in (np.flatnonzero(lower >= 0).tolist(), np.flatnonzero(lower < 0).tolist()[::-1]):
        budget = num_questions // 2
        nearest = round(budget * _NEAREST_SHARE) if len(side) > 1 else budget
        for position, stratum in enumerate(side):
            share = nearest if position == 0 else (budget - nearest) // (len(side) - 1)
            wanted[stratum] = min(sizes[stratum], max(1, share))
        spend(side, budget)
    spend(np.argsort(np.abs(np.where(np.isfinite(lower), lower, np.inf)), kind="stable").tolist(), num_questions)
    return wanted


MOST_ROUNDS: Final = 4
"""The maximum number of drawn questions per wanted question, for people who continue after the wanted questions."""


def draw_in_strata(
    headroom: Float64Array, edges: Float64Array, numbers: npt.NDArray[np.uint64], num_questions: int
) -> tuple[Int64Array, Float64Array]:
    """Choose which of N items to ask about, at random within strata.

    Args:
        headroom: (N,) headroom of the items: similarity or confidence minus the threshold.
        edges: (S+1,) edges of the strata.
        numbers: (N,) sampling numbers. Within a stratum, the items with the lowest numbers come first.
        num_questions: number of wanted questions.

    Returns:
        The indices of the chosen items, and the position of each in the order of the questions, divided by the number
        of wanted questions. The questions up to any position are spread over the strata in the same way as all
        questions. Positions of at least 1 are for people who continue after the wanted questions.
    """
    strata = stratum_of(headroom, edges)
    sizes = np.bincount(strata, minlength=len(edges) - 1).tolist()
    wanted = questions_per_stratum(edges, sizes, num_questions)
    chosen, turns = [np.zeros(0, np.int64)], [np.zeros(0)]
    for stratum, num_wanted in enumerate(wanted):
        if num_wanted:
            items = np.flatnonzero(strata == stratum)
            items = items[np.argsort(numbers[items], kind="stable")[: num_wanted * MOST_ROUNDS]]
            chosen.append(items)
            turns.append((np.arange(len(items)) + 0.5) / num_wanted)
    return np.concatenate(chosen), np.concatenate(turns)


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """The A items that were answered, as (A,) arrays, without the answers themselves."""

    strata: Int64Array  # the stratum of each item
    numbers: npt.NDArray[np.uint64]  # the sampling number of each item
    is_asked: npt.NDArray[np.bool_]  # whether the calibration itself asked


def answers_that_count(
    answers: SampledAnswers, planned_strata: Int64Array, planned_numbers: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Return an (A,) mask of the answers, from any queue, that belong to a random sample of their stratum.

    A person who is first shown the frames nearest to the threshold answers only for those frames, which differ from
    the rest of their stratum. Still, answers about them must not be ignored: no question is asked twice, so the
    calibration's later questions would lack exactly these frames. An answer therefore counts if its sampling number is
    at most the highest that the calibration has asked about in the stratum. Up to that number, the calibration asked
    about every frame without an answer. If all planned questions of a stratum have answers, answers up to the highest
    planned number count.

    Args:
        answers: all answers.
        planned_strata: (P,) the strata of the planned questions.
        planned_numbers: (P,) their sampling numbers.
    """
    counts = answers.is_asked.copy()
    for stratum in np.unique(answers.strata).tolist():
        is_here = answers.strata == stratum
        known = answers.numbers[is_here]
        asked = known[answers.is_asked[is_here]]
        planned = planned_numbers[planned_strata == stratum]
        bounds = [asked.max()] if len(asked) else []
        if len(planned) and bool(np.isin(planned, known).all()):
            bounds.append(planned.max())
        if bounds:
            counts[is_here] |= known <= max(bounds)
    return counts


def sampling_order(video_key: str, frame_indices: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """Return a fixed pseudo-random number per frame. Frames with the lowest numbers are asked about first.

    A larger sample therefore contains the smaller one. A new video does not change the order within other videos.
    """
    return mixed_numbers(frame_indices.astype(np.uint64) + (np.uint64(zlib.crc32(video_key.encode())) << np.uint64(32)))


@dataclass(frozen=True, slots=True)
class ThresholdQuality:
    """The effect of a threshold. `shift` is relative to the current threshold. `num_kept` counts all kept frames."""

    shift: float
    precision: Estimate
    recall: Estimate
    num_kept: int


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The threshold for a goal, if one was found, and a remark about the result.

    `chosen` is the threshold whose estimate meets the goal with the smallest loss in the other measure. `is_assured` is
    true if the lower end of its interval also meets the goal. `in_force` is the effect of the current threshold. Both
    effects are None if there are too few answers, and `chosen` is also None if no threshold meets the goal.
    """

    goal: Goal
    wanted: float
    num_answers: int
    in_force: ThresholdQuality | None
    chosen: ThresholdQuality | None
    is_assured: bool
    remark: str


def calibrate(
    headroom: Float64Array,
    edges: Float64Array,
    answered_headroom: Float64Array,
    answers: npt.NDArray[np.bool_],
    *,
    goal: Goal,
    wanted: float,
) -> CalibrationResult:
    """Find the threshold for a wanted precision or recall.

    Args:
        headroom: (N,) headroom of all frames whose decision depends on the positive threshold.
        edges: (S+1,) edges of the strata that the questions were drawn from.
        answered_headroom: (A,) headroom of the answered frames.
        answers: (A,) True for keep.
        goal: the measure to reach.
        wanted: the value to reach, in 0..1.
    """
    num_answers = len(answers)
    if num_answers < FEWEST_ANSWERS:
        given = counted(num_answers, "answer is", "answers are")
        remark = f"{given} too few for a threshold; give at least {FEWEST_ANSWERS}"
        if len(headroom) < FEWEST_ANSWERS:
            few = counted(len(headroom), "frame depends", "frames depend")
            remark = f"only {few} on the threshold, too few to choose one ({FEWEST_ANSWERS} are needed); add videos"
        return CalibrationResult(goal, wanted, num_answers, None, None, is_assured=False, remark=remark)
    population = np.sort(headroom)
    in_force = threshold_quality(population, edges, answered_headroom, answers, shift=0.0)
    candidates = np.unique(np.concatenate([edges[1:-1], answered_headroom]))
    candidates = candidates[np.unique(np.linspace(0, len(candidates) - 1, _MOST_CANDIDATES).astype(np.int64))]
    qualities = [
        threshold_quality(population, edges, answered_headroom, answers, shift=float(shift)) for shift in candidates
    ]
    # The lowest threshold with enough precision keeps the most frames. The highest with enough recall is the most
    # precise.
    fitting = [
        quality
        for quality in (qualities if goal == "precision" else reversed(qualities))
        if quality.num_kept and _measure(quality, goal).value >= wanted
    ]
    if not fitting:
        best = max((quality for quality in qualities if quality.num_kept), key=lambda q: _measure(q, goal).value)
        remark = (
            f"no threshold reaches a {goal} of {wanted:g}: the best estimate from {counted(num_answers, 'answer')} is "
            f"{_measure(best, goal).value:.2f}; reword the prompts, or request a lower {goal}"
        )
        return CalibrationResult(goal, wanted, num_answers, in_force, None, is_assured=False, remark=remark)
    chosen = fitting[0]
    measure = _measure(chosen, goal)
    is_assured = measure.low >= wanted
    remark = (
        f"{counted(num_answers, 'answer shows', 'answers show')} a {goal} of at least {wanted:g} with 97.5% probability"
        if is_assured
        else (
            f"{counted(num_answers, 'answer is', 'answers are')} too few to be sure: {goal} may be as low as "
            f"{measure.low:.2f}; answer more questions"
        )
    )
    return CalibrationResult(goal, wanted, num_answers, in_force, chosen, is_assured=is_assured, remark=remark)


def _measure(quality: ThresholdQuality, goal: Goal) -> Estimate:
    return quality.precision if goal == "precision" else quality.recall


def threshold_quality(
    population: Float64Array,
    edges: Float64Array,
    answered_headroom: Float64Array,
    answers: npt.NDArray[np.bool_],
    *,
    shift: float,
) -> ThresholdQuality:
    """Return the precision and recall of one threshold. Frames with a headroom of at least `shift` are kept.

    Args:
        population: (N,) headroom of all frames, ascending.
        edges: (S+1,) edges of the strata that the questions were drawn from.
        answered_headroom: (A,) headroom of the answered frames.
        answers: (A,) True for keep.
        shift: the threshold minus the current threshold.
    """
    cuts = np.unique([*edges, shift])
    sizes = np.diff(np.searchsorted(population, cuts, side="left"))
    strata = stratum_of(answered_headroom, cuts)
    kept = np.bincount(strata[answers], minlength=len(sizes))
    dropped = np.bincount(strata[~answers], minlength=len(sizes))
    good = draw_numbers(sizes, kept, dropped)
    is_above = cuts[:-1] >= shift
    num_kept = int(sizes[is_above].sum())
    good_above, good_all = good[:, is_above].sum(axis=1), good.sum(axis=1)
    return ThresholdQuality(
        shift=shift,
        precision=estimate_of(good_above / num_kept) if num_kept else Estimate(0.0, 0.0, 1.0),
        recall=estimate_of(np.where(good_all > 0, good_above / np.maximum(good_all, 1), 1.0)),
        num_kept=num_kept,
    )
