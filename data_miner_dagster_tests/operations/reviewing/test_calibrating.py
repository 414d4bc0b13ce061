"""Calibration of the filter's threshold as a review queue."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts, verdicts_in_force
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.operations.filtering.calibration import find_threshold, write_questions
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.questions import open_calibration
from data_miner_dagster.operations.reviewing.records import Answer, QueueCount
from data_miner_dagster.operations.reviewing.review import Review, open_review
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, plant_frames, save_project
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.verdicts import frame_verdict


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """Return a platform with 400 filtered frames, half of them on each side of the threshold of .5."""
    platform = PlantedPlatform(tmp_path / "root")
    save_project(platform)
    scores = np.random.default_rng(0).permutation(np.arange(400) / 400)
    for key, some in (("local-a", scores[:150]), ("local-b", scores[150:])):
        add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
        plant_frames(platform, key, [[score, 0, 0, 0] for score in some.tolist()])
    filter_project(platform, "pets")
    return platform


def count_of(review: Review, queue: ReviewQueue) -> QueueCount:
    return next(count for count in review.queues() if count.queue is queue)


def keys_of(review: Review, queue: ReviewQueue, size: int = 1000) -> list[str]:
    return [item.key for item in review.page(queue, size=size).items]


def answer(review: Review, key: str, word: VerdictWord, queue: ReviewQueue = ReviewQueue.CALIBRATION) -> None:
    item = review.item(queue, key)
    assert item is not None
    review.give(Answer(f"answer-{key}", word, queue, key, item.frame.place.pts_seconds), who="Ada")


def test_page__asks_what_calibrate_asks_in_its_order_and_gives_no_hint(platform: PlantedPlatform) -> None:
    calibration = open_calibration(platform, "pets")
    planned = [calibration.frames.frame_id(position) for position in calibration.planned.tolist()]
    review = open_review(platform, "pets")
    assert keys_of(review, ReviewQueue.CALIBRATION, size=120) == planned
    assert {item.why for item in review.page(ReviewQueue.CALIBRATION).items} == {""}
    assert count_of(review, ReviewQueue.CALIBRATION).goal == 120
    in_table = write_questions(platform, "pets").table.read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in in_table] == planned


def test_give__nobody_is_asked_again_in_either_queue(platform: PlantedPlatform) -> None:
    review = open_review(platform, "pets")
    first, second = keys_of(review, ReviewQueue.CALIBRATION, size=2)
    assert {first, second} <= set(keys_of(review, ReviewQueue.FILTER))
    answer(review, first, VerdictWord.DROP)
    answer(review, second, VerdictWord.KEEP, ReviewQueue.FILTER)
    for queue in (ReviewQueue.CALIBRATION, ReviewQueue.FILTER):
        assert not {first, second} & set(keys_of(review, queue))
    assert count_of(review, ReviewQueue.CALIBRATION).num_answered == 2
    found = find_threshold(platform, "pets", goal="precision", wanted=0.9)  # the command reads the same verdicts
    assert (found.num_answered, found.num_questions) == (2, 120)


def test_give__the_strata_stay_once_somebody_has_answered(platform: PlantedPlatform) -> None:
    review = open_review(platform, "pets")
    plan = platform.layout.calibration_plan("pets")
    (first,) = keys_of(review, ReviewQueue.CALIBRATION, size=1)
    assert not plan.exists()  # reading the questions writes nothing
    answer(review, first, VerdictWord.KEEP)
    before = plan.read_bytes()
    add_video(platform.database, "local-c", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-c", [[score / 100, 0, 0, 0] for score in range(100)])
    filter_project(platform, "pets")
    assert count_of(review, ReviewQueue.CALIBRATION).num_answered == 1  # the new table is read
    (second, *_) = keys_of(review, ReviewQueue.CALIBRATION)
    answer(review, second, VerdictWord.KEEP)
    assert plan.read_bytes() == before
    state = review.calibration(goal="precision", wanted=0.9)
    assert state.found is not None
    assert state.found.result.num_answers == 2


def test_page__answers_of_files_are_not_asked_about_again(platform: PlantedPlatform, tmp_path: Path) -> None:
    review = open_review(platform, "pets")
    first, second = keys_of(review, ReviewQueue.CALIBRATION, size=2)
    answers = tmp_path / "answers.csv"
    answers.write_text(f"frame_id,answer\n{first},keep\n")
    find_threshold(platform, "pets", goal="precision", wanted=0.9, answers_file=answers)
    assert keys_of(review, ReviewQueue.CALIBRATION, size=1) == [second]
    assert first not in keys_of(review, ReviewQueue.FILTER)
    assert verdicts_in_force(platform.database, "pets") == []  # answers from a file are not verdicts on frames


def test_calibration__a_frame_is_kept_or_dropped_as_well(platform: PlantedPlatform) -> None:
    review = open_review(platform, "pets")
    frames = open_calibration(platform, "pets").frames
    low = frames.frame_id(int(np.argmin(frames.headroom)))
    kept_before = filter_project(platform, "pets").counts["kept"]
    answer(review, low, VerdictWord.KEEP)
    assert filter_project(platform, "pets").counts["kept"] == kept_before + 1
    assert review.calibration(goal="precision", wanted=0.9).found is not None  # answers do not close the calibration


def test_calibration__says_why_there_is_nothing_to_ask(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save_project(platform)
    state = open_review(platform, "pets").calibration(goal="precision", wanted=0.9)
    assert state.found is None
    assert "has not been filtered with its current prompts" in state.why_none
    assert count_of(open_review(platform, "pets"), ReviewQueue.CALIBRATION) == QueueCount(
        ReviewQueue.CALIBRATION, num_open=0, num_answered=0, goal=0
    )


def test_page__of_keep_and_drop_on_one_frame_the_last_counts(platform: PlantedPlatform) -> None:
    said = frame_verdict("local-a/000003", 3.0, VerdictWord.KEEP)
    rounded = replace(frame_verdict("local-a/000003", 3.0004, VerdictWord.DROP), answer_id="later")
    add_verdicts(platform.database, "pets", [said])
    add_verdicts(platform.database, "pets", [rounded])
    item = open_review(platform, "pets").item(ReviewQueue.BROWSING, "local-a/000003")
    assert item is not None
    assert item.frame.verdicts == {VerdictWord.DROP: "later"}
