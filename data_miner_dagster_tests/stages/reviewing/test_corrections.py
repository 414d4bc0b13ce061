from dataclasses import replace
from datetime import UTC, datetime

import pytest

from data_miner_dagster.domain.corrections import ReturnedBox
from data_miner_dagster.domain.verdicts import (
    FramePlace,
    RelativeBox,
    ReviewQueue,
    ShownBox,
    Verdict,
    VerdictWord,
)
from data_miner_dagster.stages.reviewing.corrections import Correction, SentBox, corrections

WH = (200, 100)
HERE: RelativeBox = (0.1, 0.2, 0.3, 0.6)  # (20, 20) to (60, 60)
FURTHER: RelativeBox = (0.125, 0.2, 0.325, 0.6)  # five pixels to the right of HERE
ELSEWHERE: RelativeBox = (0.6, 0.2, 0.8, 0.6)
CAR = ShownBox("car", HERE, "lite", "r1", 0.4)


def sent(shown: ShownBox = CAR, box_id: str = "b1", answer: Verdict | None = None) -> SentBox:
    if answer is None:
        return SentBox(box_id, shown.class_name, shown.box, shown)
    assert answer.final_class_name is not None
    assert answer.final_box is not None
    return SentBox(box_id, answer.final_class_name, answer.final_box, shown, answer)


def said(word: VerdictWord, shown: ShownBox = CAR, **parts: object) -> Verdict:
    values = {"frame_id": "files-a/000000", "queue": ReviewQueue.UNSURE, "who": "ann"}
    place, at = FramePlace("files-a", 0.0), datetime(2026, 1, 1, tzinfo=UTC)
    return Verdict("a1", word, place, given_at=at, shown=shown, **values, **parts)  # type: ignore[arg-type]


def test_corrections__nothing() -> None:
    assert corrections([], [], WH) == ()


@pytest.mark.parametrize("box_id", ["b1", None, "foreign"])
def test_corrections__one_box(box_id: str | None) -> None:
    def of(class_name: str, box: RelativeBox) -> tuple[Correction, ...]:
        return corrections([sent()], [ReturnedBox(class_name, box, box_id)], WH)

    assert of("car", HERE) == (Correction(VerdictWord.RIGHT, CAR),)
    assert of("car", FURTHER) == (Correction(VerdictWord.SHIFTED, CAR, new_box=FURTHER),)
    assert of("bus", HERE) == (Correction(VerdictWord.OTHER_CLASS, CAR, new_class_name="bus"),)
    bus = Correction(VerdictWord.MISSING, ShownBox("bus", FURTHER))
    assert of("bus", FURTHER) == (Correction(VerdictWord.WRONG, CAR), bus)


def test_corrections__gone_and_drawn() -> None:
    assert corrections([sent()], [], WH) == (Correction(VerdictWord.WRONG, CAR),)
    drawn = ReturnedBox("car", ELSEWHERE)
    missing = Correction(VerdictWord.MISSING, ShownBox("car", ELSEWHERE))
    assert corrections([], [drawn], WH) == (missing,)
    assert corrections([sent()], [drawn], WH) == (Correction(VerdictWord.WRONG, CAR), missing)
    # a box that was dragged elsewhere is the same one if it has the same id
    dragged = replace(drawn, box_id="b1")
    assert corrections([sent()], [dragged], WH) == (Correction(VerdictWord.SHIFTED, CAR, new_box=ELSEWHERE),)


@pytest.mark.parametrize(("pixels", "word"), [(1.0, VerdictWord.RIGHT), (1.1, VerdictWord.SHIFTED)])
def test_corrections__the_rounding_of_tools_is_no_shift(pixels: float, word: VerdictWord) -> None:
    x_min, y_min, x_max, y_max = HERE
    returned = ReturnedBox("car", (x_min, y_min, x_max + pixels / WH[0], y_max))
    (correction,) = corrections([sent()], [returned], WH)
    assert correction.word is word


def test_corrections__a_copy_has_the_name_of_its_original() -> None:
    copy = ReturnedBox("car", ELSEWHERE, "b1")
    found = corrections([sent()], [copy, ReturnedBox("car", HERE, "b1")], WH)
    assert found == (Correction(VerdictWord.RIGHT, CAR), Correction(VerdictWord.MISSING, ShownBox("car", ELSEWHERE)))


def test_corrections__two_classes_in_one_place() -> None:
    bus = ShownBox("bus", HERE, "lite", "r1", 0.3)
    found = corrections([sent(), sent(bus, "b2")], [ReturnedBox("bus", HERE)], WH)
    assert found == (Correction(VerdictWord.WRONG, CAR), Correction(VerdictWord.RIGHT, bus))


def test_corrections__outside_the_picture() -> None:
    over_the_edge, outside = ReturnedBox("car", (0.9, 0.5, 1.2, 1.01)), ReturnedBox("car", (1.1, 0.1, 1.2, 0.2))
    assert corrections([], [over_the_edge, outside], WH) == (
        Correction(VerdictWord.MISSING, ShownBox("car", (0.9, 0.5, 1.0, 1.0))),
    )


def test_corrections__a_region_to_ignore_says_nothing() -> None:
    assert corrections([sent()], [ReturnedBox("car", HERE, is_undecided=True)], WH) == ()


DRAWN = said(VerdictWord.MISSING)
MOVED = said(VerdictWord.SHIFTED, new_box=FURTHER)
RENAMED = said(VerdictWord.OTHER_CLASS, new_class_name="bus")


@pytest.mark.parametrize("answer", [said(VerdictWord.RIGHT), DRAWN, MOVED, RENAMED])
def test_corrections__an_answer_that_stands(answer: Verdict) -> None:
    box = sent(answer=answer)
    assert corrections([box], [ReturnedBox(box.class_name, box.box, "b1")], WH) == ()
    assert corrections([box], [], WH) == (Correction(VerdictWord.WRONG, CAR, replaces="a1"),)


def test_corrections__an_answer_is_corrected() -> None:
    def of(answer: Verdict, class_name: str, box: RelativeBox) -> tuple[Correction, ...]:
        return corrections([sent(answer=answer)], [ReturnedBox(class_name, box, "b1")], WH)

    # a box that was moved can be moved again, or back; the correction still names the box as it was detected
    assert of(MOVED, "car", ELSEWHERE) == (Correction(VerdictWord.SHIFTED, CAR, new_box=ELSEWHERE, replaces="a1"),)
    assert of(MOVED, "car", HERE) == (Correction(VerdictWord.RIGHT, CAR, replaces="a1"),)
    assert of(RENAMED, "car", HERE) == (Correction(VerdictWord.RIGHT, CAR, replaces="a1"),)
    assert of(RENAMED, "van", HERE) == (Correction(VerdictWord.OTHER_CLASS, CAR, new_class_name="van", replaces="a1"),)
    assert of(DRAWN, "van", FURTHER) == (Correction(VerdictWord.MISSING, ShownBox("van", FURTHER), replaces="a1"),)
    assert of(RENAMED, "bus", FURTHER) == (
        Correction(VerdictWord.WRONG, CAR, replaces="a1"),
        Correction(VerdictWord.MISSING, ShownBox("bus", FURTHER)),
    )


def test_is_change() -> None:
    assert not Correction(VerdictWord.RIGHT, CAR).is_change
    assert Correction(VerdictWord.RIGHT, CAR, replaces="a1").is_change
    assert Correction(VerdictWord.WRONG, CAR).is_change
