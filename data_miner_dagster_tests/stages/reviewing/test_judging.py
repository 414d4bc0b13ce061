from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from data_miner_dagster.domain.box_shares import BoxXyxy, shares_of
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.stages.reviewing.judging import FoundBox, Judgement, judge_boxes
from data_miner_dagster.stages.reviewing.states import BoxState, ConfidenceRange, FrameClasses

WH = (100, 50)
CLASSES = FrameClasses(("person", "car"), (ConfidenceRange(0.15, 0.3), ConfidenceRange(0.15, 0.3)))
HERE, THERE = (10.0, 10.0, 30.0, 30.0), (60.0, 10.0, 80.0, 30.0)
NEAR_HERE = (10.0, 10.0, 30.0, 40.0)  # IoU of 2/3 with HERE
PART_OF_HERE = (10.0, 10.0, 30.0, 19.0)  # IoU of .45 with HERE
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def said(word: str, box: BoxXyxy | None = None, name: str = "person", *, at: int = 0, **parts: Any) -> Verdict:
    if "new_box" in parts:
        parts["new_box"] = shares_of(parts["new_box"], WH)
    share = None if box is None else shares_of(box, WH)
    return Verdict(
        answer_id=parts.pop("answer_id", f"{word}-{at}"),
        word=VerdictWord(word),
        place=FramePlace("files-a", 1.0),
        frame_id="files-a/000001",
        queue=ReviewQueue.BROWSING,
        who=parts.pop("who", "ann"),
        given_at=AT + timedelta(seconds=at),
        shown=None if share is None else ShownBox(name, share),
        **parts,
    )


def judged(found: Sequence[FoundBox], *verdicts: Verdict) -> Judgement:
    return judge_boxes(found, verdicts, CLASSES, WH)


def outcome(judgement: Judgement) -> list[tuple[str, tuple[int, ...], str, int | None, str | None]]:
    return [
        (
            CLASSES.names[box.class_index],
            tuple(round(value) for value in box.box_xyxy),
            box.state.value,
            box.position,
            box.verdict.word.value if box.verdict else None,
        )
        for box in judgement.boxes
    ]


def test_judge_boxes__nothing() -> None:
    assert judged([]) == Judgement((), (), is_complete=False)


def test_judge_boxes__without_verdicts_by_confidence_alone() -> None:
    judgement = judged([FoundBox(0, 0.5, HERE), FoundBox(1, 0.2, HERE), FoundBox(0, 0.1, THERE)])
    assert [box.state for box in judgement.boxes] == [BoxState.OBJECT, BoxState.UNSURE, BoxState.NONE]
    assert judgement.is_unsure


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (said("right", HERE), [("person", (10, 10, 30, 30), "object", 0, "right")]),
        (said("right", NEAR_HERE), [("person", (10, 10, 30, 40), "object", 0, "right")]),  # the confirmed box
        (said("wrong", NEAR_HERE), []),
        (
            said("other_class", HERE, new_class_name="car"),
            [("car", (10, 10, 30, 30), "object", 0, "other_class")],
        ),
        (said("shifted", HERE, new_box=THERE), [("person", (60, 10, 80, 30), "object", 0, "shifted")]),
        (
            said("missing", THERE, "car"),
            [("person", (10, 10, 30, 30), "unsure", 0, None), ("car", (60, 10, 80, 30), "object", None, "missing")],
        ),
        (said("missing", NEAR_HERE), [("person", (10, 10, 30, 40), "object", 0, "missing")]),  # detected since
    ],
)
def test_judge_boxes__one_verdict_on_an_unsure_box(verdict: Verdict, expected: list[object]) -> None:
    judgement = judged([FoundBox(0, 0.2, HERE)], verdict)
    assert outcome(judgement) == expected
    assert judgement.unmet == ()


@pytest.mark.parametrize(
    "verdict",
    [said("wrong", PART_OF_HERE), said("wrong", HERE, "car"), said("right", THERE, "tree"), said("wrong", THERE)],
)
def test_judge_boxes__what_meets_nothing_is_listed(verdict: Verdict) -> None:
    judgement = judged([FoundBox(0, 0.5, HERE)], verdict)
    assert outcome(judgement) == [("person", (10, 10, 30, 30), "object", 0, None)]
    assert judgement.unmet == (verdict,)


def test_judge_boxes__a_confirmed_box_stays_when_no_detector_finds_it_any_more() -> None:
    judgement = judged([], said("right", HERE))
    assert outcome(judgement) == [("person", (10, 10, 30, 30), "object", None, "right")]
    assert judgement.unmet == ()


def test_judge_boxes__another_class_that_is_not_in_the_list_removes_the_box() -> None:
    judgement = judged([FoundBox(0, 0.5, HERE)], said("other_class", HERE, new_class_name="tree"))
    assert (judgement.boxes, judgement.unmet) == ((), ())


def test_judge_boxes__a_new_detector_finds_the_right_box_and_the_old_mistake() -> None:
    found = [FoundBox(0, 0.9, HERE), FoundBox(0, 0.8, THERE), FoundBox(1, 0.7, HERE)]
    shifted = judged(found[:2], said("shifted", HERE, new_box=THERE))
    assert outcome(shifted) == [("person", (60, 10, 80, 30), "object", 1, "shifted")]
    renamed = judged([found[0], found[2]], said("other_class", HERE, new_class_name="car"))
    assert outcome(renamed) == [("car", (10, 10, 30, 30), "object", 1, "other_class")]


def test_judge_boxes__one_verdict_removes_one_box_and_the_best_pair_goes_first() -> None:
    found = [FoundBox(0, 0.9, NEAR_HERE), FoundBox(0, 0.8, HERE)]
    assert outcome(judged(found, said("wrong", HERE))) == [("person", (10, 10, 30, 40), "object", 0, None)]
    both = judged(found, said("wrong", HERE), said("right", NEAR_HERE, at=1))
    assert outcome(both) == [("person", (10, 10, 30, 40), "object", 0, "right")]


def test_judge_boxes__a_stated_box_absorbs_the_others_of_its_class_in_its_place() -> None:
    found = [
        FoundBox(0, 0.9, HERE),
        FoundBox(0, 0.8, NEAR_HERE),
        FoundBox(0, 0.8, PART_OF_HERE),
        FoundBox(1, 0.7, HERE),
    ]
    assert outcome(judged(found, said("right", HERE))) == [
        ("person", (10, 10, 30, 30), "object", 0, "right"),
        ("person", (10, 10, 30, 19), "object", 2, None),
        ("car", (10, 10, 30, 30), "object", 3, None),
    ]


def test_judge_boxes__two_confirmed_neighbours_stay_two() -> None:
    found = [FoundBox(0, 0.9, HERE), FoundBox(0, 0.8, NEAR_HERE)]
    judgement = judged(found, said("right", HERE), said("right", NEAR_HERE, at=1))
    assert [box.position for box in judgement.boxes] == [0, 1]


def test_judge_boxes__a_later_verdict_on_a_box_that_a_person_made() -> None:
    shifted = said("shifted", HERE, new_box=THERE)
    assert outcome(judged([FoundBox(0, 0.9, HERE)], shifted, said("wrong", THERE, at=1))) == []
    assert judged([FoundBox(0, 0.9, HERE)], shifted, said("wrong", THERE, at=1)).unmet == ()
    again = judged([FoundBox(0, 0.9, HERE)], shifted, said("other_class", THERE, at=1, new_class_name="car"))
    assert outcome(again) == [("car", (60, 10, 80, 30), "object", None, "other_class")]


def test_judge_boxes__the_same_missing_object_drawn_by_two_people_is_one() -> None:
    first, second = said("missing", HERE), said("missing", NEAR_HERE, at=1, who="bob")
    assert outcome(judged([], first, second)) == [("person", (10, 10, 30, 40), "object", None, "missing")]
    mine = said("missing", NEAR_HERE, at=1)
    assert len(judged([], first, mine).boxes) == 2  # two boxes of one person are two objects


def test_judge_boxes__complete_settles_what_is_unsure() -> None:
    judgement = judged([FoundBox(0, 0.2, HERE), FoundBox(1, 0.9, THERE)], said("complete"))
    assert [box.state for box in judgement.boxes] == [BoxState.NONE, BoxState.OBJECT]
    assert (judgement.is_complete, judgement.is_unsure) == (True, False)


def test_judge_boxes__the_order_of_verdicts_does_not_matter() -> None:
    found = [FoundBox(0, 0.9, HERE), FoundBox(0, 0.2, NEAR_HERE), FoundBox(1, 0.8, THERE)]
    verdicts = [
        said("wrong", NEAR_HERE, at=0),
        said("shifted", HERE, at=1, new_box=PART_OF_HERE),
        said("right", THERE, "car", at=2),
        said("missing", THERE, at=3),
    ]
    results = {str(outcome(judged(found, *order))) for order in permutations(verdicts)}
    assert len(results) == 1


def test_judge_boxes__detected_outside_of_the_frame() -> None:
    beyond = FoundBox(1, 0.2, (-40.0, 10.0, 30.0, 30.0))  # people see the part inside: (0, 10, 30, 30)
    judgement = judged([beyond], said("right", (0.0, 10.0, 30.0, 30.0), "car"))
    assert outcome(judgement) == [("car", (0, 10, 30, 30), "object", 0, "right")]


def test_judge_boxes__a_person_goes_before_the_verifier() -> None:
    confirmed = FoundBox(0, 0.2, HERE, verifier_verdict=VerifierVerdict.CONFIRMED)
    rejected = FoundBox(1, 0.9, THERE, verifier_verdict=VerifierVerdict.REJECTED)
    states = [box.state for box in judged([confirmed, rejected]).boxes]
    assert states == [BoxState.OBJECT, BoxState.NONE]
    said_otherwise = judged([confirmed, rejected], said("wrong", HERE), said("right", THERE, name="car"))
    assert [(box.state, box.position) for box in said_otherwise.boxes] == [(BoxState.OBJECT, 1)]
