"""From keep-or-drop answers on a few frames to a threshold, with how sure one can be of it. Pure, no model.

Scores are *headroom*: positive similarity less the threshold in force, so 0 is where the decision turns. Frames are
asked about in strata, narrow beside the threshold and wide far from it, and drawn at random within each; since the
score of every frame is known, an answer stands for a known number of frames. For a threshold, each stratum (cut in
two where the threshold falls into it) has a share of frames worth keeping, of which `kept` of `asked` answers leave
the Jeffreys posterior Beta(kept + 1/2, dropped + 1/2). Drawing the shares, and from them how many of the frames that
were not asked about are good, many times over gives the distributions of precision and recall: medians are the
estimates, the central 95% the intervals. A stratum without answers can hold anything, and widens them accordingly.

Source of the interval: Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion", section 4.3.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

Goal = Literal["precision", "recall"]

STRATA_PER_SIDE: Final = 4
_GROWTH: Final = 3
"""Each stratum holds so many times the frames of the one next to it on the threshold's side."""
_NEAREST_SHARE: Final = 0.4
"""Of a side's questions, those in the stratum beside the threshold; the others share the rest equally."""
FEWEST_ANSWERS: Final = 20
"""Below this no threshold is offered at all."""
_NUM_DRAWS: Final = 2000
_MOST_CANDIDATES: Final = 100
_CONFIDENCE: Final = 0.95


def stratum_edges(headroom: Float64Array) -> Float64Array:
    """Return (S+1,) ascending edges of half-open strata that cover all scores; 0, the threshold in force, is one.

    On each side of 0 up to STRATA_PER_SIDE strata, of frame counts in the proportions 1 : 3 : 9 : 27 outwards.
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
    """Return how many frames to ask about in each stratum, at most as many as it has.

    Half of them on each side of the threshold in force; what a small stratum, or a side, cannot use goes to
    the others.
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


def stratum_of(headroom: Float64Array, edges: Float64Array) -> npt.NDArray[np.int64]:
    """Return the stratum of each score."""
    strata: npt.NDArray[np.int64] = np.searchsorted(edges, headroom, side="right") - 1
    return strata


def sampling_order(video_key: str, frame_indices: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """Return a fixed pseudo-random number per frame: the frames with the lowest are asked about first.

    A larger sample then contains the smaller one, and a new video disturbs no other's. Source of the mixing function:
    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
    """
    mixed = frame_indices.astype(np.uint64) + (np.uint64(zlib.crc32(video_key.encode())) << np.uint64(32))
    mixed = mixed * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share with the interval that holds it with 95% probability."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ThresholdQuality:
    """What a threshold would do. `shift` is relative to the threshold in force; `num_kept` counts all frames."""

    shift: float
    precision: Estimate
    recall: Estimate
    num_kept: int


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """The threshold for a goal, or why there is none.

    `chosen` meets the goal by its estimate, and gives away the least of the other measure; `is_assured` if even the
    lower end of its interval meets it. `in_force` is what the present threshold does.
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
        headroom: (N,) scores of every frame whose fate depends on the positive threshold.
        edges: (S+1,) of the strata that the questions were drawn from.
        answered_headroom: (A,) scores of the frames that were answered.
        answers: (A,) true for keep.
        goal: which measure to reach.
        wanted: its value, in 0..1.
    """
    num_answers = len(answers)
    if num_answers < FEWEST_ANSWERS:
        remark = f"too few answers: {num_answers}, and a threshold needs at least {FEWEST_ANSWERS}"
        return CalibrationResult(goal, wanted, num_answers, None, None, is_assured=False, remark=remark)
    population = np.sort(headroom)
    in_force = threshold_quality(population, edges, answered_headroom, answers, shift=0.0)
    candidates = np.unique(np.concatenate([edges[1:-1], answered_headroom]))
    candidates = candidates[np.unique(np.linspace(0, len(candidates) - 1, _MOST_CANDIDATES).astype(np.int64))]
    qualities = [
        threshold_quality(population, edges, answered_headroom, answers, shift=float(shift)) for shift in candidates
    ]
    # The lowest threshold that is precise enough keeps the most; the highest that finds enough keeps the cleanest.
    fitting = [
        quality
        for quality in (qualities if goal == "precision" else reversed(qualities))
        if quality.num_kept and _measure(quality, goal).value >= wanted
    ]
    if not fitting:
        best = max((quality for quality in qualities if quality.num_kept), key=lambda q: _measure(q, goal).value)
        remark = (
            f"no threshold reaches a {goal} of {wanted:g}: the best estimate is {_measure(best, goal).value:.2f}; "
            "reword the prompts, or ask for less"
        )
        return CalibrationResult(goal, wanted, num_answers, in_force, None, is_assured=False, remark=remark)
    chosen = fitting[0]
    measure = _measure(chosen, goal)
    is_assured = measure.low >= wanted
    remark = (
        f"{goal} is at least {wanted:g} with 97.5% probability"
        if is_assured
        else f"{num_answers} answers are too few to be sure: {goal} may be as low as {measure.low:.2f}; give more"
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
    """Return precision and recall of one threshold. `population` is sorted; frames at or above `shift` are kept."""
    cuts = np.unique([*edges, shift])
    sizes = np.diff(np.searchsorted(population, cuts, side="left"))
    strata = stratum_of(answered_headroom, cuts)
    kept = np.bincount(strata[answers], minlength=len(sizes))
    dropped = np.bincount(strata[~answers], minlength=len(sizes))
    generator = np.random.default_rng(0)  # the same answers give the same interval
    shares = generator.beta(kept + 0.5, dropped + 0.5, size=(_NUM_DRAWS, len(sizes)))
    # What was answered is known; only the rest is drawn, so that answers to everything leave no doubt.
    good = kept + generator.binomial(sizes - kept - dropped, shares)
    is_above = cuts[:-1] >= shift
    num_kept = int(sizes[is_above].sum())
    good_above, good_all = good[:, is_above].sum(axis=1), good.sum(axis=1)
    return ThresholdQuality(
        shift=shift,
        precision=_estimate(good_above / num_kept) if num_kept else Estimate(0.0, 0.0, 1.0),
        recall=_estimate(np.where(good_all > 0, good_above / np.maximum(good_all, 1), 1.0)),
        num_kept=num_kept,
    )


def _estimate(draws: Float64Array) -> Estimate:
    tail = (1 - _CONFIDENCE) / 2
    low, value, high = np.quantile(draws, [tail, 0.5, 1 - tail]).tolist()
    return Estimate(value, low, high)
