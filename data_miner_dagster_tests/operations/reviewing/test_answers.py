"""Answers become verdicts and settle the questions they answer."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.catalog.verdicts import all_verdicts, verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.operations.reviewing.records import Answer, ReviewItem
from data_miner_dagster.operations.reviewing.review import Review, open_review
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster_tests.support.sample_project import build_project

PERSON = ShownBox("person", (1 / 64, 1 / 48, 9 / 64, 9 / 48), "lite", "detector", 0.2)


def answer_to(item: ReviewItem, word: VerdictWord, queue: ReviewQueue, answer_id: str = "a1") -> Answer:
    """Return an answer about the box that an item asks about, or about its frame if it asks about no box."""
    asked = [box for box in item.frame.boxes if box.is_asked]
    return Answer(
        answer_id=answer_id,
        word=word,
        queue=queue,
        frame_id=item.frame.frame_id,
        pts_seconds=item.frame.place.pts_seconds,
        shown=asked[0].shown if asked else None,
    )


def keys_of(review: Review, queue: ReviewQueue) -> list[str]:
    """Return the keys of a queue's open questions."""
    return [item.key for item in review.page(queue, size=100).items]


def test_give__frees_the_frame_and_undo_asks_again(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    review = open_review(platform, "cyclists")
    (item,) = review.page(ReviewQueue.UNSURE).items
    verdict = review.give(answer_to(item, VerdictWord.WRONG, ReviewQueue.UNSURE), who="Ada")
    assert (verdict.place, verdict.shown, verdict.who) == (FramePlace("files-aaa", 1.0), PERSON, "Ada")
    assert verdicts_in_force(platform.database, "cyclists") == [verdict]
    assert keys_of(review, ReviewQueue.UNSURE) == []
    assert "files-aaa/000001#1" not in keys_of(review, ReviewQueue.NEAR_THRESHOLD)
    now = review.item(ReviewQueue.UNSURE, item.key)
    assert now is not None
    assert [(box.class_name, box.state, box.verdict, box.answer_id) for box in now.frame.boxes] == [
        ("bicycle", BoxState.OBJECT, None, None),
        ("person", BoxState.NONE, VerdictWord.WRONG, "a1"),
    ]
    assert review.undo("a1", who="Ada")
    assert not review.undo("a1", who="Ada")
    assert keys_of(review, ReviewQueue.UNSURE) == [item.key]


def test_give__the_same_answer_twice_is_one(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    review = open_review(platform, "cyclists")
    (item,) = review.page(ReviewQueue.UNSURE).items
    first = review.give(answer_to(item, VerdictWord.RIGHT, ReviewQueue.UNSURE), who="Ada")
    again = review.give(answer_to(item, VerdictWord.WRONG, ReviewQueue.UNSURE), who="Bob")
    assert again == first
    assert len(list(all_verdicts(platform.database, "cyclists"))) == 1


def test_give__settles_a_question_of_every_queue(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    random = keys_of(review, ReviewQueue.RANDOM)
    first = review.page(ReviewQueue.RANDOM, size=1).items[0]
    review.give(answer_to(first, VerdictWord.COMPLETE, ReviewQueue.RANDOM, "complete"), who="Ada")
    assert keys_of(review, ReviewQueue.RANDOM) == random[1:]

    filtered = keys_of(review, ReviewQueue.FILTER)
    first = review.page(ReviewQueue.FILTER, size=1).items[0]
    assert first.why == "dropped, 0.140 below the filter's threshold"  # 0.9 - 4 * 0.05 - 0.5 = 0.2 instead of 0.34
    review.give(answer_to(first, VerdictWord.KEEP, ReviewQueue.FILTER, "keep"), who="Ada")
    assert keys_of(review, ReviewQueue.FILTER) == filtered[1:]

    pairs = review.page(ReviewQueue.DUPLICATES).items
    assert [(pair.key, pair.other.frame_id if pair.other else None, pair.tier) for pair in pairs] == [
        ("files-aaa/000002", "files-aaa/000001", "within_video"),
        ("files-bbb/000000", "files-aaa/000001", "across_videos"),
    ]
    pair = answer_to(pairs[1], VerdictWord.NOT_DUPLICATE, ReviewQueue.DUPLICATES, "pair")
    review.give(replace(pair, other_frame_id="files-aaa/000001"), who="Ada")
    assert keys_of(review, ReviewQueue.DUPLICATES) == ["files-aaa/000002"]
    confirmed = answer_to(pairs[0], VerdictWord.DUPLICATE, ReviewQueue.DUPLICATES, "confirmed")
    review.give(replace(confirmed, other_frame_id="files-aaa/000001"), who="Ada")
    assert keys_of(review, ReviewQueue.DUPLICATES) == []
    counts = {count.queue: (count.num_open, count.num_answered) for count in review.queues()}
    assert counts == {
        ReviewQueue.UNSURE: (1, 0),
        ReviewQueue.DISAGREEMENT: (0, 0),
        ReviewQueue.NEAR_THRESHOLD: (6, 0),
        ReviewQueue.RANDOM: (6, 1),
        ReviewQueue.CALIBRATION: (0, 0),  # nothing was scored
        ReviewQueue.FILTER: (9, 1),
        ReviewQueue.DUPLICATES: (0, 2),
    }


def test_give__refuses_what_the_project_does_not_have(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    drawn = Answer("a1", VerdictWord.MISSING, ReviewQueue.RANDOM, "files-aaa/000003", 3.0, PERSON)
    for wrong, message in (
        (replace(drawn, frame_id="files-zzz/000000"), "project 'cyclists' has no frame files-zzz/000000 at 3 s"),
        (replace(drawn, frame_id="nonsense"), "has no frame nonsense"),
        (replace(drawn, pts_seconds=2.5), "has no frame files-aaa/000003 at 2.5 s; reload the page"),
        (replace(drawn, shown=replace(PERSON, class_name="train")), "no class 'train'; use one of person, bicycle"),
        (replace(drawn, shown=replace(PERSON, box=(0.5, 0, 1.2, 1))), "not four shares from 0 to 1"),
        (replace(drawn, word=VerdictWord.KEEP), "'keep' on files-aaa/000003 cannot have a box"),
        (replace(drawn, answer_id=""), "is not a valid answer id; use 1 to 64 characters"),
    ):
        with pytest.raises(ConfigError, match=message):
            review.give(wrong, who="Ada")
    with pytest.raises(ConfigError, match="is not a valid name for an author"):
        review.give(drawn, who=" ")
    assert review.give(drawn, who="Ada").shown == ShownBox("person", PERSON.box)  # drawn by a person, not detected


def test_give__a_frame_that_has_another_id_by_now(tmp_path: Path) -> None:
    review = open_review(build_project(tmp_path), "cyclists")
    drawn = Answer("a1", VerdictWord.MISSING, ReviewQueue.RANDOM, "files-aaa/000001", 3.0, PERSON)
    assert review.give(drawn, who="Ada").place == FramePlace("files-aaa", 3.0)


def test_unmet__says_why(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    review = open_review(platform, "cyclists")
    at = Answer("met", VerdictWord.WRONG, ReviewQueue.BROWSING, "files-aaa/000001", 1.0, PERSON)
    review.give(at, who="Ada")
    elsewhere = replace(PERSON, box=(0.5, 0.5, 0.9, 0.9))
    review.give(replace(at, answer_id="no box", shown=elsewhere), who="Ada")
    review.give(replace(at, answer_id="duplicate", frame_id="files-aaa/000002", pts_seconds=2.0), who="Ada")
    pair = Answer("chosen", VerdictWord.REPRESENTATIVE, ReviewQueue.DUPLICATES, "files-aaa/000002", 2.0)
    review.give(replace(pair, other_frame_id="files-aaa/000001"), who="Ada")  # no build has followed this answer
    assert [(one.verdict.answer_id, one.reason.name) for one in review.unmet()] == [
        ("no box", "NO_BOX"),
        ("duplicate", "NOT_EXAMINED"),
        ("chosen", "NOT_EXAMINED"),
    ]
    build_project(tmp_path, detection={"classes": {"bicycle": []}})
    assert [(one.verdict.answer_id, one.reason.name) for one in review.unmet()] == [
        ("met", "NO_CLASS"),
        ("no box", "NO_CLASS"),
        ("duplicate", "NO_CLASS"),
        ("chosen", "NOT_EXAMINED"),
    ]


@pytest.mark.parametrize(
    ("word", "new_box", "expected"),
    [
        (VerdictWord.RIGHT, None, [((0.6, 0.5, 0.8, 0.9), BoxState.OBJECT)]),
        (VerdictWord.SHIFTED, (0.7, 0.5, 0.9, 0.9), [((0.7, 0.5, 0.9, 0.9), BoxState.OBJECT)]),
        (VerdictWord.WRONG, None, [((0.6, 0.5, 0.8, 0.9), BoxState.NONE)]),
    ],
)
def test_give__who_corrects_a_shifted_box_does_not_bring_the_detected_one_back(
    tmp_path: Path,
    word: VerdictWord,
    new_box: tuple[float, float, float, float] | None,
    expected: list[tuple[tuple[float, float, float, float], BoxState]],
) -> None:
    """The second answer is about the box where the first answer put it, far from where the detector found it."""
    platform = build_project(tmp_path)
    review = open_review(platform, "cyclists")
    (item,) = review.page(ReviewQueue.UNSURE).items
    first = answer_to(item, VerdictWord.SHIFTED, ReviewQueue.UNSURE, "first")
    review.give(replace(first, new_box=(0.6, 0.5, 0.8, 0.9)), who="Ada")
    moved = ShownBox("person", (0.6, 0.5, 0.8, 0.9))
    second = replace(first, answer_id="second", word=word, shown=moved, new_box=new_box, replaces="first")
    review.give(second, who="Ben")
    now = review.item(ReviewQueue.BROWSING, item.key)
    assert now is not None
    persons = [(box.box, box.state) for box in now.frame.boxes if box.class_name == "person"]
    assert persons == expected
    # the verdict still matches the detected box, which does not become unsure again
    assert keys_of(review, ReviewQueue.UNSURE) == []
    assert review.undo("second", who="Ben")
    now = review.item(ReviewQueue.BROWSING, item.key)
    assert now is not None
    assert [box.box for box in now.frame.boxes if box.class_name == "person"] == [(0.6, 0.5, 0.8, 0.9)]
