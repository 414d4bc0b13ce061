"""Intervals contain the truth as often as they promise, on simulated detectors with known precision."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest

from data_miner_dagster.stages.estimates import Float64Array, stratum_of
from data_miner_dagster.stages.evaluation.confidence import (
    JudgedBoxes,
    calibrate_class,
    lowest_threshold,
    overall_precision,
    precision_at,
    probabilities,
    probability_knots,
    strata_edges,
)
from data_miner_dagster.stages.filtering.calibration import questions_per_stratum, stratum_edges

Design = Literal["near and random", "random", "queue"]

IN_FORCE = 0.3
NUM_RUNS = 60


@dataclass(frozen=True)
class Simulation:
    """6,000 boxes of a class with known truth, and 150 verdicts on them."""

    confidences: Float64Array
    is_right: np.ndarray
    judged: JudgedBoxes

    @property
    def population(self) -> Float64Array:
        return np.sort(self.confidences)

    def true_precision(self, threshold: float) -> float:
        return float(self.is_right[self.confidences >= threshold].mean())


def as_stored(confidences: Float64Array) -> Float64Array:
    return confidences.astype(np.float32).astype(np.float64)


def simulated(seed: int, *, frame_spread: float = 0.0, design: Design = "near and random") -> Simulation:
    """Simulate a detector with confidences like those of real ones: many low ones, and a hump of high ones.

    55% of the confidences follow Beta(1.2, 6), the others Beta(4, 2). The probability that a box is right is
    logistic(9 (confidence - .35)): the detector is over-confident below .35 and under-confident above. `frame_spread`
    is the standard deviation of a term in the logit which the boxes of a frame share. By default, 50 of the 150
    verdicts are on boxes within .1 of the threshold, and 100 on all boxes of random frames. `design` changes this.
    """
    generator = np.random.default_rng(seed)
    num_boxes, num_frames = 6000, 1500
    is_low = generator.random(num_boxes) < 0.55
    drawn = np.where(is_low, generator.beta(1.2, 6, num_boxes), generator.beta(4, 2, num_boxes))
    confidences = np.clip(drawn, 0.05, 0.99)
    frames = generator.integers(0, num_frames, num_boxes)
    shared = frame_spread * generator.normal(size=num_frames)[frames]
    is_right = generator.random(num_boxes) < 1 / (1 + np.exp(-(9 * (confidences - 0.35) + shared)))
    if design == "queue":
        strata = stratum_of(confidences - IN_FORCE, edges := stratum_edges(confidences - IN_FORCE))
        sizes = np.bincount(strata, minlength=len(edges) - 1).tolist()
        near = np.concatenate(
            [
                generator.permutation(np.flatnonzero(strata == stratum))[:number]
                for stratum, number in enumerate(questions_per_stratum(edges, sizes, 150))
            ]
        )
    else:
        number = 50 if design == "near and random" else 0
        near = generator.permutation(np.flatnonzero(np.abs(confidences - IN_FORCE) < 0.1))[:number]
    asked = set(near.tolist())
    for frame in generator.permutation(num_frames).tolist():
        if len(asked) >= 150:
            break
        asked |= set(np.flatnonzero(frames == frame).tolist())
    rows = np.array(sorted(asked))
    strata_of_answers = strata_edges(confidences[rows], np.sort(confidences), IN_FORCE)
    judged = JudgedBoxes(confidences[rows], is_right[rows], frames[rows], strata_of_answers)
    return Simulation(confidences, is_right, judged)


@pytest.mark.parametrize(
    ("frame_spread", "design", "widest"),
    [
        pytest.param(0.0, "near and random", 0.16, id="near the threshold and random frames"),
        pytest.param(0.0, "random", 0.16, id="random frames alone"),
        pytest.param(0.0, "queue", 0.18, id="the queue near the threshold alone"),
        # Hard: if one box of a frame is wrong, the others are likely to be wrong, too.
        pytest.param(1.5, "near and random", 0.2, id="frames whose boxes are wrong together"),
    ],
)
def test_calibrate_class__interval_holds_the_precision_at_the_chosen_threshold(
    frame_spread: float, design: Design, widest: float
) -> None:
    hits, in_force_hits, widths = 0, 0, []
    for seed in range(NUM_RUNS):
        simulation = simulated(seed, frame_spread=frame_spread, design=design)
        threshold = lowest_threshold(simulation.population, simulation.judged, 0.9)
        current = precision_at(simulation.population, simulation.judged, IN_FORCE)
        found = precision_at(simulation.population, simulation.judged, threshold) if threshold is not None else None
        assert current is not None
        in_force_hits += current.precision.low <= simulation.true_precision(IN_FORCE) <= current.precision.high
        if threshold is None or found is None:
            continue  # if no threshold is offered, it is not a hit
        hits += found.precision.low <= simulation.true_precision(threshold) <= found.precision.high
        widths.append(found.precision.high - found.precision.low)
    assert hits >= 53
    assert in_force_hits >= 53
    assert np.median(widths) <= widest


def test_lowest_threshold__reaches_the_precision_on_average() -> None:
    simulations = [simulated(seed) for seed in range(NUM_RUNS)]
    thresholds = [lowest_threshold(found.population, found.judged, 0.9) for found in simulations]
    reached = [found.true_precision(threshold or 0.0) for found, threshold in zip(simulations, thresholds, strict=True)]
    assert 0.89 <= np.mean(reached) <= 0.93
    assert np.std(reached) < 0.04


def test_precision_at__verdicts_on_every_box_leave_no_doubt() -> None:
    confidences = as_stored(np.linspace(0.05, 0.95, 91))
    judged = JudgedBoxes(confidences, confidences > 0.505, np.arange(91))
    found = precision_at(confidences, judged, 0.4)
    assert found is not None
    # The 56 boxes are .40, .41, ..., .95. The 45 right ones are .51, ..., .95.
    assert found.num_boxes == 56
    assert (found.precision.low, found.precision.high) == (45 / 56, 45 / 56)
    assert precision_at(confidences, judged, 0.96) is None


def test_precision_at__threshold_as_a_release_compares_it() -> None:
    population = np.array([0.7], np.float32).astype(np.float64)  # 0.699999988
    found = precision_at(population, JudgedBoxes(population, np.ones(1, bool), np.zeros(1, int)), 0.7)
    assert found is not None
    assert found.num_boxes == 1


def test_precision_at__boxes_of_few_frames_tell_less() -> None:
    generator = np.random.default_rng(1)
    population = np.sort(generator.random(5000))
    confidences = population[:: 5000 // 120][:120]
    is_right = np.arange(120) % 12 < 9  # 90 of 120 boxes
    apart = precision_at(population, JudgedBoxes(confidences, is_right, np.arange(120)), 0.0)
    order = np.argsort(~is_right, kind="stable")
    frames = np.empty(120, np.int64)
    frames[order] = np.arange(120) // 10  # 12 frames, each with all boxes right or all wrong
    together = precision_at(population, JudgedBoxes(confidences, is_right, frames), 0.0)
    assert apart is not None
    assert together is not None
    width, wide = (found.precision.high - found.precision.low for found in (apart, together))
    assert wide > 1.8 * width


def test_calibrate_class__few_and_many_verdicts() -> None:
    simulation = simulated(3)
    judged = simulation.judged
    few = JudgedBoxes(judged.confidences[:19], judged.is_right[:19], judged.frames[:19])
    found = calibrate_class(simulation.population, few, in_force=IN_FORCE, wanted=0.9, pooled=judged)
    assert (found.chosen, found.in_force, found.curve) == (None, None, ())
    assert found.num_more == 131  # 150 are wanted
    assert found.remark == "19 verdicts are too few for a threshold; 131 more are recommended"
    assert found.is_pooled
    assert found.knots == probability_knots(judged)
    whole = calibrate_class(simulation.population, judged, in_force=IN_FORCE, wanted=0.9, pooled=few)
    assert whole.chosen is not None
    assert whole.in_force is not None
    assert not whole.is_pooled
    assert whole.num_answers == len(judged.confidences) == len(whole.answers)
    assert whole.chosen.num_boxes == (simulation.confidences >= whole.chosen.threshold).sum()
    assert whole.is_assured is (whole.chosen.precision.low >= 0.9)
    assert [point.threshold for point in whole.curve] == sorted({point.threshold for point in whole.curve})
    again = JudgedBoxes.of(whole.answers)
    assert calibrate_class(simulation.population, again, in_force=IN_FORCE, wanted=0.9, pooled=few) == whole


def test_calibrate_class__nothing_right() -> None:
    population = np.linspace(0.05, 0.9, 400)
    judged = JudgedBoxes(population[::4], np.zeros(100, bool), np.arange(100))
    found = calibrate_class(population, judged, in_force=0.3, wanted=0.9, pooled=judged)
    assert found.chosen is None
    assert found.remark == "no threshold is known to reach a precision of 0.9; 50 more verdicts may show one"


def test_calibrate_class__a_class_with_few_boxes() -> None:
    population = as_stored(np.array([0.1, 0.4, 0.5, 0.9]))
    three = JudgedBoxes(population[1:], np.ones(3, bool), np.arange(3))
    found = calibrate_class(population, three, in_force=0.3, wanted=0.9, pooled=three)
    assert (found.chosen, found.num_more) == (None, 1)
    assert found.remark == "3 verdicts are too few for a threshold; 1 more is recommended"
    four = JudgedBoxes(population, np.array([False, True, True, True]), np.arange(4))
    found = calibrate_class(population, four, in_force=0.3, wanted=0.9, pooled=four)
    assert found.in_force is not None
    assert (found.in_force.precision.low, found.in_force.precision.high, found.num_more) == (1.0, 1.0, 0)
    nothing = JudgedBoxes.of(())
    empty = calibrate_class(np.zeros(0), nothing, in_force=0.3, wanted=0.9, pooled=nothing)
    assert (empty.num_more, empty.remark) == (0, "no boxes of this class are stored")


def test_strata_edges__nothing_judged() -> None:
    assert strata_edges(np.zeros(0), np.zeros(0), 0.3).tolist() == [-np.inf, 0.3, np.inf]


def test_strata_edges__what_nobody_asked_about_can_contain_anything() -> None:
    """150 answers near the threshold say nothing about the boxes far above it."""
    population = as_stored(np.linspace(0.05, 0.95, 901))
    asked = population[(population > 0.25) & (population < 0.4)]
    judged = JudgedBoxes(asked, asked > 0.3, np.arange(len(asked)), strata_edges(asked, population, 0.3))
    found = precision_at(population, judged, 0.3)
    assert found is not None
    assert found.precision.high - found.precision.low > 0.5


def test_strata_edges__finer_where_there_are_many_answers() -> None:
    population = as_stored(np.linspace(0.05, 0.95, 901))
    edges = strata_edges(population[::5], population, 0.3)
    numbers = np.bincount(stratum_of(population[::5], edges))
    assert numbers.min() >= 4
    assert numbers.max() < 36  # twice the wanted 18 per stratum


def test_probability_knots__rise_and_are_nearer_to_the_truth_than_confidences() -> None:
    errors, errors_of_confidences = [], []
    for seed in range(10):
        simulation = simulated(seed)
        knots = probability_knots(simulation.judged)
        assert all(one[0] < other[0] and one[1] < other[1] for one, other in pairwise(knots))
        truth = 1 / (1 + np.exp(-9 * (simulation.confidences - 0.35)))
        errors.append(np.abs(probabilities(knots, simulation.confidences) - truth).mean())
        errors_of_confidences.append(np.abs(simulation.confidences - truth).mean())
    assert np.mean(errors) < 0.6 * np.mean(errors_of_confidences)


def test_probability_knots__by_hand() -> None:
    # two strata of 20 answers: 5 are right in the lower one, 15 in the upper one
    confidences = np.concatenate([np.full(20, 0.2), np.full(20, 0.8)])
    is_right = np.concatenate([np.arange(20) < 5, np.arange(20) < 15])
    knots = probability_knots(JudgedBoxes(confidences, is_right, np.arange(40)))
    assert knots == ((0.2, round(5.5 / 21, 4)), (0.8, round(15.5 / 21, 4)))
    assert probabilities(knots, np.array([0.0, 0.2, 0.5, 0.8, 1.0])) == pytest.approx(
        [0.2619, 0.2619, 0.5, 0.7381, 0.7381]
    )
    # if more are right in the lower stratum, both get the same share
    knots = probability_knots(JudgedBoxes(confidences, is_right[::-1].copy(), np.arange(40)))
    assert knots == ((0.5, 0.5),)


def test_overall_precision__each_class_by_its_boxes() -> None:
    cats, dogs = as_stored(np.linspace(0.3, 0.9, 300)), as_stored(np.linspace(0.3, 0.9, 100))
    judged = {
        "cat": JudgedBoxes(cats, np.arange(300) % 10 != 0, np.arange(300)),  # all judged, precision .9
        "dog": JudgedBoxes(dogs, np.arange(100) % 2 == 0, np.arange(100)),  # precision .5
    }
    found = overall_precision({"cat": cats, "dog": dogs}, judged, {"cat": 0.3, "dog": 0.3})
    assert found is not None
    assert (found.low, found.value, found.high) == (0.8, 0.8, 0.8)
    few = {**judged, "dog": JudgedBoxes(dogs[:5], np.ones(5, bool), np.arange(5))}
    assert overall_precision({"cat": cats, "dog": dogs}, few, {"cat": 0.3, "dog": 0.3}) is None
    only_cats = overall_precision({"cat": cats, "dog": dogs}, few, {"cat": 0.3, "dog": 0.95})
    assert only_cats is not None
    assert only_cats.value == 0.9
