"""What the verdicts on a frame say about its boxes, worked out by hand."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.stages.evaluation.answers import (
    FoundOnFrame,
    ReviewedFrame,
    TruthObject,
    answers_on_frame,
    stated_objects,
)
from data_miner_dagster.stages.reviewing.states import ConfidenceRange, FrameClasses
from data_miner_dagster_tests.support.verdicts import NOON, box_verdict

CLASSES = FrameClasses(("cat", "dog"), (ConfidenceRange(0.15, 0.3), ConfidenceRange(0.15, 0.3)))
FRAME = "files-aaa/000001"
LEFT: RelativeBox = (0.0, 0.0, 0.2, 0.5)
MIDDLE: RelativeBox = (0.4, 0.0, 0.6, 0.5)
RIGHT: RelativeBox = (0.8, 0.0, 1.0, 0.5)
LOW: RelativeBox = (0.0, 0.6, 0.2, 1.0)


def frame(*verdicts: Verdict, found: tuple[tuple[int, float, RelativeBox], ...] = ()) -> ReviewedFrame:
    """Return a reviewed frame of 100 by 100 pixels."""
    boxes = FoundOnFrame(
        np.array([row[0] for row in found], np.int64),
        np.array([row[1] for row in found], np.float64),
        np.array([row[2] for row in found], np.float64).reshape(-1, 4) * 100,
    )
    return ReviewedFrame(FRAME, (100, 100), boxes, verdicts)


def on_box(word: VerdictWord, name: str, box: RelativeBox, revision: str = "now", **changes: object) -> Verdict:
    verdict = box_verdict(FRAME, 1.0, word, (name, box), **changes)
    shown = ShownBox(name, box, "lite", revision, 0.5)
    return verdict if word is VerdictWord.MISSING else replace(verdict, shown=shown)


def complete(queue: ReviewQueue = ReviewQueue.RANDOM) -> Verdict:
    place = FramePlace("files-aaa", 1.0)
    return Verdict("complete", VerdictWord.COMPLETE, place, FRAME, queue, "Ada", NOON + timedelta(seconds=9))


def test_answers_on_frame__only_shown_boxes_are_known() -> None:
    reviewed = frame(
        on_box(VerdictWord.RIGHT, "cat", LEFT),
        on_box(VerdictWord.WRONG, "cat", MIDDLE),
        on_box(VerdictWord.OTHER_CLASS, "dog", RIGHT, new_class_name="cat"),
        on_box(VerdictWord.MISSING, "dog", LOW),
        found=((0, 0.9, LEFT), (0, 0.4, MIDDLE), (1, 0.8, RIGHT), (1, 0.2, LOW)),
    )
    answers = answers_on_frame(reviewed, CLASSES, "now")
    assert answers.positions.tolist() == [0, 1, 2]
    assert answers.is_right.tolist() == [True, False, False]
    assert answers.objects is None
    assert (answers.num_other_detector, answers.num_unjudged) == (0, 0)


def test_answers_on_frame__a_moved_box_is_right_if_it_still_overlaps() -> None:
    near, far = (0.02, 0.0, 0.22, 0.5), (0.6, 0.0, 0.8, 0.5)
    reviewed = frame(
        on_box(VerdictWord.SHIFTED, "cat", LEFT, new_box=near),
        on_box(VerdictWord.SHIFTED, "cat", MIDDLE, new_box=far),
        found=((0, 0.9, LEFT), (0, 0.8, MIDDLE)),
    )
    assert answers_on_frame(reviewed, CLASSES, "now").is_right.tolist() == [True, False]


def test_answers_on_frame__boxes_of_another_detector_say_nothing() -> None:
    reviewed = frame(on_box(VerdictWord.RIGHT, "cat", LEFT, revision="before"), found=((0, 0.9, LEFT),))
    answers = answers_on_frame(reviewed, CLASSES, "now")
    assert (answers.positions.tolist(), answers.num_other_detector) == ([], 1)


def test_answers_on_frame__complete_frame_knows_every_box_and_object() -> None:
    reviewed = frame(
        on_box(VerdictWord.RIGHT, "cat", LEFT),
        on_box(VerdictWord.WRONG, "cat", MIDDLE),
        on_box(VerdictWord.MISSING, "dog", RIGHT),
        on_box(VerdictWord.MISSING, "dog", LOW),
        complete(),
        # the last box is below the threshold, so nobody was asked about it
        found=((0, 0.9, LEFT), (0, 0.4, MIDDLE), (1, 0.2, LOW), (1, 0.1, MIDDLE)),
    )
    answers = answers_on_frame(reviewed, CLASSES, "now")
    assert answers.positions.tolist() == [0, 1, 2, 3]
    assert answers.is_right.tolist() == [True, False, True, False]
    assert answers.objects is not None
    found = {(pair[0].class_index, pair[0].box_xyxy): pair[1] for pair in answers.objects}
    assert found == {
        (0, (0.0, 0.0, 20.0, 50.0)): 0.9,
        (1, (80.0, 0.0, 100.0, 50.0)): None,
        (1, (0.0, 60.0, 20.0, 100.0)): 0.2,
    }


def test_answers_on_frame__complete_frame_with_a_sure_box_that_nobody_judged() -> None:
    found = ((0, 0.9, LEFT), (0, 0.31, RIGHT), (0, 0.29, MIDDLE))
    answers = answers_on_frame(frame(on_box(VerdictWord.RIGHT, "cat", LEFT), complete(), found=found), CLASSES, "now")
    assert answers.num_unjudged == 1  # the second box
    assert answers.positions.tolist() == [0, 1, 2]
    assert answers.is_right.tolist() == [True, False, False]


def test_stated_objects__classes_of_the_project_alone() -> None:
    reviewed = frame(
        on_box(VerdictWord.OTHER_CLASS, "cat", LEFT, new_class_name="dog"),
        on_box(VerdictWord.WRONG, "cat", MIDDLE),
        on_box(VerdictWord.MISSING, "bird", RIGHT),
    )
    assert stated_objects(reviewed, CLASSES) == (TruthObject(1, (0.0, 0.0, 20.0, 50.0)),)
