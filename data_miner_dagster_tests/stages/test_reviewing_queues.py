"""Test the order in which people are asked about frames and boxes."""

from collections.abc import Sequence

import numpy as np
import pytest

from data_miner_dagster.domain.verification import VERDICT_CODES, VerifierVerdict
from data_miner_dagster.stages.reviewing_queues import (
    NO_OBJECT,
    OBJECT,
    UNSURE,
    BoxArrays,
    BoxRules,
    FrameFacts,
    NearestToZero,
    Ranking,
    box_states,
    draw_near_threshold,
    rank_disagreement,
    rank_duplicates,
    rank_random,
    rank_unsure,
)
from data_miner_dagster.stages.sampling import sampling_numbers

# Two detectors and two classes. Boxes are objects from .5 and .25 on, and unsure from .125 and .25 on, so the second
# class has no unsure boxes.
RULES = BoxRules(np.array([0.5, 0.25], np.float32), np.array([0.125, 0.25], np.float32), num_detectors=2)


def boxes(*rows: tuple[int, int, float, int], verdicts: Sequence[int] | None = None) -> BoxArrays:
    """Return boxes, each given as (frame, class, confidence, number of agreeing detectors); `verdicts` are codes."""
    frames, classes, confidences, agreeing = zip(*rows, strict=True)
    said = np.zeros(len(rows), np.uint8) if verdicts is None else np.array(verdicts, np.uint8)
    return BoxArrays(np.array(frames), np.array(classes), np.array(confidences, np.float32), np.array(agreeing), said)


def rows_of(ranking: Ranking) -> list[int]:
    """Return the rows of boxes or frames in the order in which people are asked about them."""
    return [int(row) for row in ranking.rows[ranking.order()]]


def facts_of(num_frames: int, *rows: tuple[int, int, float, int], num_objects: Sequence[int] = (9, 9)) -> FrameFacts:
    facts = FrameFacts(num_frames)
    facts.add(boxes(*rows), RULES, np.array(num_objects))
    return facts


def test_box_states__by_hand() -> None:
    some = boxes(
        (0, 0, 0.5, 1), (0, 0, 0.4375, 1), (0, 0, 0.4375, 2), (0, 0, 0.0625, 2), (0, 1, 0.25, 1), (0, 1, 0.2, 1)
    )
    assert box_states(some, RULES).tolist() == [OBJECT, UNSURE, OBJECT, NO_OBJECT, OBJECT, NO_OBJECT]


def test_box_states__a_verifier_settles_what_is_unsure_and_drops_what_it_rejects() -> None:
    sure, unsure, nothing = (0, 0, 0.5, 1), (0, 0, 0.25, 1), (0, 0, 0.0625, 1)
    some = boxes(unsure, sure, unsure, sure, unsure, nothing, verdicts=[1, 2, 2, 3, 3, 1])
    assert VERDICT_CODES[1:] == (VerifierVerdict.CONFIRMED, VerifierVerdict.REJECTED, VerifierVerdict.CANNOT_TELL)
    assert box_states(some, RULES).tolist() == [OBJECT, NO_OBJECT, NO_OBJECT, OBJECT, UNSURE, NO_OBJECT]


def test_rank_unsure__one_answer_frees_the_frame_first() -> None:
    facts = facts_of(4, (0, 0, 0.4, 1), (0, 0, 0.4, 1), (1, 0, 0.2, 1), (2, 0, 0.9, 1), (3, 0, 0.05, 1))
    assert rows_of(rank_unsure(facts, np.array([10, 11, 12, 13]))) == [11, 10]  # the other frames have no unsure boxes


def test_rank_unsure__then_the_rarest_class_then_nearest_to_the_threshold_then_the_row() -> None:
    rules = BoxRules(np.array([0.5, 0.5], np.float32), np.array([0.125, 0.125], np.float32), num_detectors=1)
    facts = FrameFacts(4)
    some = boxes((0, 0, 0.25, 1), (1, 0, 0.375, 1), (2, 1, 0.125, 1), (3, 0, 0.375, 1))
    facts.add(some, rules, np.array([100, 7]))  # the second class is the rarer one
    assert rows_of(rank_unsure(facts, np.arange(4))) == [2, 1, 3, 0]


def test_rank_disagreement__the_most_confident_first() -> None:
    facts = facts_of(4, (0, 0, 0.75, 2), (1, 0, 0.25, 1), (2, 0, 0.75, 1), (2, 0, 0.25, 1), (3, 0, 0.0625, 1))
    assert rows_of(rank_disagreement(facts, np.arange(4))) == [2, 1]


def test_rank_duplicates__groups_stay_together() -> None:
    similarities = np.array([0.9, 0.95, 0.92, 0.91])
    ranking = rank_duplicates(np.array([1, 2, 3, 4]), np.array([70, 60, 70, 60]), similarities)
    assert rows_of(ranking) == [1, 3, 4, 2]
    assert rows_of(rank_duplicates(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))) == []


def test_frame_facts__parts_in_any_order_are_as_the_whole() -> None:
    some = ((0, 0, 0.25, 1), (1, 0, 0.375, 1), (0, 0, 0.4375, 1), (2, 1, 0.9, 1))
    whole, parts = facts_of(3, *some), FrameFacts(3)
    for one in reversed(some):
        parts.add(boxes(one), RULES, np.array([9, 9]))
    for name in ("num_unsure", "rarity", "distance", "disagreement"):
        assert getattr(parts, name).tolist() == getattr(whole, name).tolist()
    changed = whole.copy()
    changed.clear(np.array([0]))
    assert (changed.num_unsure.tolist(), whole.num_unsure.tolist()) == ([0, 1, 0], [2, 1, 0])


def test_sampling_numbers__a_larger_sample_contains_the_smaller() -> None:
    pts_seconds = np.arange(200) / 30
    few = sampling_numbers(["a", "b"], np.repeat([0, 1], 100), np.tile(pts_seconds[:100], 2))
    # A third video precedes the two, "a" is sampled more densely, and the indices of all frames have changed.
    many = sampling_numbers(
        ["0", "a", "b"],
        np.repeat([0, 1, 2], [50, 200, 100]),
        np.concatenate([pts_seconds[:50], pts_seconds, pts_seconds[:100]]),
    )
    assert few[:100].tolist() == many[50:150].tolist()
    assert few[100:].tolist() == many[250:].tolist()
    assert len(set(many.tolist())) == 350
    first = rank_random(few, np.arange(200)).order()[:20]
    assert 3 < np.count_nonzero(first < 100) < 17  # frames of both videos come early


def test_draw_near_threshold__half_on_each_side_nearest_first_and_any_first_part_is_spread() -> None:
    confidences = np.linspace(0.05, 0.95, 4000).astype(np.float32)
    numbers = sampling_numbers(["a"], np.zeros(4000, np.int64), np.arange(4000) / 7)
    chosen, turns = draw_near_threshold(confidences, 0.5, numbers)
    enough = chosen[turns < 1]
    assert 140 <= len(enough) <= 150
    assert abs(np.count_nonzero(confidences[enough] >= 0.5) - 75) <= 5
    # Only an eighth of all boxes lie within .05625 of the threshold, but they make up far more of the questions.
    assert np.mean(np.abs(confidences[enough] - 0.5) < 0.05625) > 0.4
    half = chosen[turns < 0.5]
    assert abs(np.count_nonzero(confidences[half] >= 0.5) - len(half) / 2) <= 4
    assert len(set(chosen.tolist())) == len(chosen) <= 600


@pytest.mark.parametrize("confidences", [[], [0.3], [0.9, 0.8]])
def test_draw_near_threshold__few_boxes_are_all_asked_about(confidences: list[float]) -> None:
    chosen, turns = draw_near_threshold(
        np.array(confidences, np.float32), 0.5, np.arange(len(confidences), dtype=np.uint64)
    )
    assert sorted(chosen.tolist()) == list(range(len(confidences)))
    assert (turns <= 1).all()


def test_ranking__after_a_question_that_is_gone() -> None:
    ranking = Ranking(np.array([1, 2, 3, 4]), (np.array([1.0, 1.0, 2.0, 0.0]), np.array([5.0, 5.0, 0.0, 9.0])))
    assert rows_of(ranking) == [4, 1, 2, 3]
    assert ranking.is_after((1.0, 5.0), 1).tolist() == [False, True, True, False]
    assert ranking.is_after((1.0, 4.0), 9).tolist() == [True, True, True, False]


def test_nearest_to_zero__of_a_stream() -> None:
    nearest = NearestToZero(2)
    nearest.add(np.array([5, 6]), np.array([0.5, -0.25]))
    nearest.add(np.array([7, 2]), np.array([-0.125, 0.25]))
    assert sorted(zip(nearest.rows.tolist(), nearest.values.tolist(), strict=True)) == [(2, 0.25), (7, -0.125)]
