"""Intervals contain the truth as often as they promise, and thresholds equal those worked out by hand."""

import numpy as np
import pytest

from data_miner_dagster.domain.quality import Estimate
from data_miner_dagster.stages.estimates import stratum_of
from data_miner_dagster.stages.filtering.calibration import (
    SampledAnswers,
    answers_that_count,
    calibrate,
    draw_in_strata,
    questions_per_stratum,
    sampling_order,
    stratum_edges,
    threshold_quality,
)


def test_stratum_edges__no_frames() -> None:
    assert stratum_edges(np.zeros(0)).tolist() == [-np.inf, 0.0, np.inf]


def test_stratum_edges__narrow_beside_the_threshold() -> None:
    headroom = np.arange(-40, 40) / 100 + 0.005  # 40 frames on each side of the threshold
    edges = stratum_edges(headroom)
    counts = np.bincount(stratum_of(headroom, edges)).tolist()
    assert counts[4:] == [1, 3, 9, 27]
    assert sum(counts[:4]) == 40
    assert counts[3] < counts[2] < counts[1] < counts[0]


def test_questions_per_stratum__half_on_each_side_most_beside_the_threshold() -> None:
    edges = np.array([-np.inf, -0.5, 0.0, 0.5, np.inf])
    assert questions_per_stratum(edges, [999] * 4, 100) == [30, 20, 20, 30]
    assert questions_per_stratum(np.array([-np.inf, 0.0, np.inf]), [999, 999], 100) == [50, 50]


def test_questions_per_stratum__small_strata_pass_theirs_on() -> None:
    edges = np.array([-np.inf, -0.5, 0.0, 0.5, np.inf])
    assert questions_per_stratum(edges, [999, 5, 7, 10], 100) == [78, 5, 7, 10]
    assert questions_per_stratum(edges, [0, 0, 0, 0], 100) == [0, 0, 0, 0]


def test_sampling_order__same_for_ever_and_even() -> None:
    order = sampling_order("local-a", np.arange(10_000, dtype=np.int32))
    assert (order == sampling_order("local-a", np.arange(10_000, dtype=np.int32))).all()
    assert (order != sampling_order("local-b", np.arange(10_000, dtype=np.int32))).all()
    assert len(np.unique(order)) == 10_000
    per_tenth = np.bincount((order >> np.uint64(32)).astype(np.int64) * 10 >> 32)
    assert per_tenth.min() > 880  # 1,000 are expected; this is 4 standard deviations less
    assert order[:3].tolist() == sampling_order("local-a", np.arange(3, dtype=np.int32)).tolist()


def simulated(seed: int, num_questions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Simulate 20,000 frames. Frames with more headroom are more often worth keeping."""
    generator = np.random.default_rng(seed)
    headroom = np.sort(generator.normal(-0.1, 0.15, 20_000))
    truth = generator.random(20_000) < 1 / (1 + np.exp(-30 * (headroom - 0.02)))
    edges = stratum_edges(headroom)
    strata = stratum_of(headroom, edges)
    sizes = np.bincount(strata, minlength=len(edges) - 1).tolist()
    asked = np.concatenate(
        [
            generator.permutation(np.flatnonzero(strata == stratum))[:number]
            for stratum, number in enumerate(questions_per_stratum(edges, sizes, num_questions))
        ]
    )
    return headroom, truth, edges, headroom[asked], truth[asked]


def test_threshold_quality__intervals_hold_the_truth() -> None:
    hits = {"precision": 0, "recall": 0}
    num_runs = 60
    for seed in range(num_runs):
        headroom, truth, edges, answered, answers = simulated(seed, 160)
        quality = threshold_quality(headroom, edges, answered, answers, shift=0.0)
        is_kept = headroom >= 0
        precision, recall = truth[is_kept].mean(), (truth & is_kept).sum() / truth.sum()
        hits["precision"] += quality.precision.low <= precision <= quality.precision.high
        hits["recall"] += quality.recall.low <= recall <= quality.recall.high
        assert quality.num_kept == is_kept.sum()
    assert hits["precision"] >= 0.88 * num_runs  # 95% are promised; 52 of 60 or fewer would be a 2.5-sigma event
    assert hits["recall"] >= 0.88 * num_runs


def test_threshold_quality__answers_to_everything_leave_no_doubt() -> None:
    headroom = np.arange(-20, 20) / 100
    answers = np.arange(40) % 4 > 0  # 30 of 40 are good, 15 on each side
    quality = threshold_quality(headroom, stratum_edges(headroom), headroom, answers, shift=0.0)
    assert quality.precision == Estimate(0.75, 0.75, 0.75)
    assert quality.recall == Estimate(0.5, 0.5, 0.5)


def test_calibrate__too_few_answers() -> None:
    headroom, _, edges, answered, answers = simulated(0, 160)
    result = calibrate(headroom, edges, answered[:19], answers[:19], goal="precision", wanted=0.9)
    assert result.chosen is None
    assert result.remark == "19 answers are too few for a threshold; give at least 20"


def test_calibrate__too_few_frames_to_ask_about() -> None:
    headroom = np.arange(-6, 6) / 100
    result = calibrate(headroom, stratum_edges(headroom), headroom, headroom > 0, goal="precision", wanted=0.9)
    assert result.chosen is None
    assert result.remark == (
        "only 12 frames depend on the threshold, too few to choose one (20 are needed); add videos"
    )


def test_calibrate__precision_is_reached_and_more_answers_narrow_it() -> None:
    widths = []
    for num_questions in (80, 2000):
        headroom, truth, edges, answered, answers = simulated(1, num_questions)
        result = calibrate(headroom, edges, answered, answers, goal="precision", wanted=0.9)
        assert result.chosen is not None
        assert result.chosen.precision.value >= 0.9
        truth_at_chosen = truth[headroom >= result.chosen.shift].mean()
        assert result.chosen.precision.low <= truth_at_chosen <= result.chosen.precision.high
        widths.append(result.chosen.precision.high - result.chosen.precision.low)
    assert widths[1] < widths[0] / 2
    assert truth_at_chosen == pytest.approx(0.9, abs=0.03)


def test_calibrate__recall_lowers_the_threshold() -> None:
    headroom, truth, edges, answered, answers = simulated(2, 2000)
    result = calibrate(headroom, edges, answered, answers, goal="recall", wanted=0.95)
    assert result.chosen is not None
    assert result.in_force is not None
    assert result.chosen.shift < 0
    assert result.in_force.recall.value < 0.95 <= result.chosen.recall.value
    assert (truth & (headroom >= result.chosen.shift)).sum() / truth.sum() == pytest.approx(0.95, abs=0.05)


def test_calibrate__assured_only_if_the_lower_end_reaches_the_goal() -> None:
    headroom = np.linspace(-0.5, 0.5, 1000)
    edges = np.array([-np.inf, 0.0, np.inf])
    for num_kept, is_assured in ((15, False), (200, True)):
        answered = np.concatenate([np.linspace(0.01, 0.49, num_kept), np.full(20, -0.4)])
        answers = np.concatenate([np.ones(num_kept, bool), np.zeros(20, bool)])
        result = calibrate(headroom, edges, answered, answers, goal="precision", wanted=0.95)
        assert result.chosen is not None
        assert result.is_assured is is_assured
        assert result.remark.startswith(
            "220 answers show a precision of at least 0.95 with 97.5% probability"
            if is_assured
            else "35 answers are too few to be sure: precision may be as low as "
        )


def test_calibrate__nothing_worth_keeping() -> None:
    headroom = np.linspace(-0.5, 0.5, 1000)
    answered = np.linspace(-0.5, 0.5, 60)
    result = calibrate(
        headroom,
        np.array([-np.inf, 0.0, np.inf]),
        answered,
        np.zeros(60, bool),
        goal="precision",
        wanted=0.9,
    )
    assert result.chosen is None
    assert result.remark.startswith("no threshold reaches a precision of 0.9: the best estimate from 60 answers is ")


def test_calibrate__same_answers_same_result() -> None:
    headroom, _, edges, answered, answers = simulated(3, 160)
    first = calibrate(headroom, edges, answered, answers, goal="recall", wanted=0.9)
    assert calibrate(headroom, edges, answered, answers, goal="recall", wanted=0.9) == first


def test_draw_in_strata__any_first_part_is_spread_as_the_whole() -> None:
    headroom = np.arange(-400, 400) / 1000 + 0.0005
    numbers = np.arange(800, dtype=np.uint64)[::-1].copy()  # the last frames are asked about first
    edges = np.array([-np.inf, -0.1, 0.0, 0.1, np.inf])
    chosen, turns = draw_in_strata(headroom, edges, numbers, 40)
    strata = stratum_of(headroom[chosen], edges)
    wanted = [12, 8, 8, 12]
    assert np.bincount(strata).tolist() == [4 * number for number in wanted]  # for people who continue
    assert np.bincount(strata[turns < 1]).tolist() == wanted
    assert np.bincount(strata[turns < 0.5]).tolist() == [6, 4, 4, 6]
    first = [int(chosen[(strata == stratum) & (turns < 1)].max()) for stratum in range(4)]
    assert first == [299, 399, 499, 799]  # the lowest sampling numbers of each stratum


def test_answers_that_count__up_to_the_last_question_of_the_calibration() -> None:
    numbers = np.array([1, 2, 3, 4, 5], np.uint64)
    planned = np.array([0, 0, 0, 0]), np.array([1, 2, 3, 4], np.uint64)

    def counted(answered: list[int], asked: list[int]) -> list[int]:
        found = np.array(answered, np.uint64)
        answers = SampledAnswers(np.zeros(len(found), np.int64), found, np.isin(found, asked))
        counts: list[int] = found[answers_that_count(answers, *planned)].tolist()
        return counts

    assert counted([], []) == []
    assert counted([1, 2, 5], asked=[]) == []  # from a queue that starts near the threshold
    assert counted([1, 2, 4], asked=[2]) == [1, 2]
    assert counted([1, 3, 5], asked=[3]) == [1, 3]
    assert counted([1, 2, 3, 4, 5], asked=[]) == [1, 2, 3, 4]  # every planned question has an answer
    assert counted([1, 2, 3, 4, 5], asked=[5]) == numbers.tolist()
    apart = SampledAnswers(np.array([0, 1]), np.array([1, 1], np.uint64), np.array([True, False]))
    assert answers_that_count(apart, *planned).tolist() == [True, False]  # each stratum is separate


def test_answers_that_count__people_who_were_asked_near_the_threshold_first() -> None:
    """Each side has one wide stratum. Most frames above -.08 are good. People have already judged the nearest 300."""
    right, naive = 0, 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        headroom = np.sort(generator.uniform(-0.5, 0.5, 4000))
        truth = generator.random(4000) < np.where(headroom < 0, 0.1 + 0.8 * (headroom > -0.08), 0.95)
        edges = np.array([-np.inf, 0.0, np.inf])
        numbers = generator.permutation(4000).astype(np.uint64)
        chosen, turns = draw_in_strata(headroom, edges, numbers, 120)
        planned = chosen[turns < 1]
        before = np.argsort(np.abs(headroom))[:300]
        asked = np.setdiff1d(chosen[turns < 0.7], before)  # people stopped early
        answered = np.union1d(before, asked)
        answers = SampledAnswers(stratum_of(headroom[answered], edges), numbers[answered], np.isin(answered, asked))
        counts = answers_that_count(answers, stratum_of(headroom[planned], edges), numbers[planned])
        true_recall = truth[headroom >= 0].sum() / truth.sum()
        for some, is_ours in ((answered[counts], True), (answered, False)):
            quality = threshold_quality(headroom, edges, headroom[some], truth[some], shift=0.0)
            holds = quality.recall.low <= true_recall <= quality.recall.high
            right += holds and is_ours
            naive += holds and not is_ours
    assert right >= 53
    assert naive <= 10  # without the rule, few intervals contain the truth
