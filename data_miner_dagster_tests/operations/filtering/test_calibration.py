"""Test questions, the answers from a table or the review pages, and the threshold that follows from them."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.verdicts import ReviewQueue, VerdictWord
from data_miner_dagster.operations.filtering.calibration import CalibrationSheet, find_threshold, write_questions
from data_miner_dagster.operations.filtering.drift import read_drift
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.questions import open_calibration
from data_miner_dagster.stages.estimates import stratum_of
from data_miner_dagster_tests.support.axis_project import (
    PlantedPlatform,
    plant_frames,
    save_project,
)
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.verdicts import frame_verdict

TRUTH = 0.75
"""The lowest similarity of the frames worth keeping. The threshold in force is .5."""


def plant_scores(platform: PlantedPlatform, key: str, similarities: np.ndarray) -> None:
    add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, key, [[similarity, 0, 0, 0] for similarity in similarities.tolist()])


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    platform = PlantedPlatform(tmp_path)
    save_project(platform)
    generator = np.random.default_rng(0)
    for key in ("local-a", "local-b"):
        plant_scores(platform, key, generator.uniform(0, 1, 400))
    filter_project(platform, "pets")
    return platform


def questions(sheet: CalibrationSheet) -> list[dict[str, str]]:
    with sheet.table.open(newline="") as file:
        return list(csv.DictReader(file))


def answer_all(sheet: CalibrationSheet, path: Path) -> Path:
    """Write the true answers into the table itself, as a spreadsheet would."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, fieldnames=["frame_id", "similarity", "answer"], extrasaction="ignore")
        writer.writeheader()
        for row in questions(sheet):
            writer.writerow({**row, "answer": "Keep" if float(row["similarity"]) >= TRUTH else "drop"})
    return path


def test_write_questions__before_filtering(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save_project(platform)
    with pytest.raises(DataMinerError, match="has not been filtered with its current prompts"):
        write_questions(platform, "pets")


def test_write_questions__no_frames(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save_project(platform)
    filter_project(platform, "pets")
    with pytest.raises(DataMinerError, match="no frame whose decision depends"):
        write_questions(platform, "pets")


def test_write_questions__most_lie_beside_the_threshold(platform: PlantedPlatform) -> None:
    sheet = write_questions(platform, "pets", num_questions=100)
    rows = questions(sheet)
    assert sheet.num_frames == 800
    assert len({row["frame_id"] for row in rows}) == len(rows) == sheet.num_questions
    assert len(rows) == 100
    similarities = np.array([float(row["similarity"]) for row in rows])
    assert (np.abs(similarities - 0.5) < 0.125).mean() > 0.5  # a quarter of all frames are in this range
    assert {row["now"] for row in rows} == {"kept", "dropped"}
    assert all((row["now"] == "kept") == (float(row["similarity"]) >= 0.5) for row in rows)
    assert {row["answer"] for row in rows} == {""}


def test_write_questions__more_questions_contain_the_first(platform: PlantedPlatform) -> None:
    first = {row["frame_id"] for row in questions(write_questions(platform, "pets", num_questions=40))}
    second = {row["frame_id"] for row in questions(write_questions(platform, "pets", num_questions=120))}
    assert first < second


def test_write_questions__frames_dropped_for_other_reasons_are_not_asked_about(tmp_path: Path) -> None:
    platform = PlantedPlatform(tmp_path)
    save_project(platform, junk=["slide"])
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(
        platform,
        "local-a",
        [[0.75, 0, 0, 0], [0.75, 0, 0.75, 0], [0.25, 0, 0, 0], [0.25, 0, 0.75, 0], [0.75, 0, 0, 0]],
        quality_flag=[None, None, None, None, "black"],
    )
    filter_project(platform, "pets")
    sheet = write_questions(platform, "pets")
    assert {row["frame_id"] for row in questions(sheet)} == {"local-a/000000", "local-a/000002"}


def test_find_threshold__from_a_table(platform: PlantedPlatform, tmp_path: Path) -> None:
    sheet = write_questions(platform, "pets", num_questions=200)
    found = find_threshold(
        platform, "pets", goal="precision", wanted=0.95, answers_file=answer_all(sheet, tmp_path / "answers.csv")
    )
    assert found.threshold_in_force == 0.5
    assert found.result.in_force is not None
    # of the frames from .5 to 1, the upper half is worth keeping
    assert found.result.in_force.precision.value == pytest.approx(0.5, abs=0.08)
    assert found.threshold == pytest.approx(TRUTH, abs=0.05)
    assert found.settings == {"positive_threshold": {"axis": found.threshold}}
    assert found.num_unknown == 0


def test_find_threshold__answers_add_up_and_applying_it_keeps_the_plan(
    platform: PlantedPlatform, tmp_path: Path
) -> None:
    sheet = write_questions(platform, "pets", num_questions=200)
    first = find_threshold(
        platform, "pets", goal="recall", wanted=0.9, answers_file=answer_all(sheet, tmp_path / "answers.csv")
    )
    again = find_threshold(platform, "pets", goal="recall", wanted=0.9)
    assert again == first
    assert first.threshold is not None
    save_project(platform, positive_threshold={"axis": first.threshold})
    filter_project(platform, "pets")
    applied = find_threshold(platform, "pets", goal="recall", wanted=0.9)
    assert applied.threshold_in_force == first.threshold
    assert applied.threshold == pytest.approx(first.threshold, abs=1e-3)
    assert write_questions(platform, "pets", num_questions=200).num_answered > 50
    assert write_questions(platform, "pets", num_questions=200, restart=True).num_answered == 0


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_write_questions__damaged_plan(platform: PlantedPlatform, content: str) -> None:
    write_questions(platform, "pets", num_questions=40)
    plan = platform.layout.calibration_plan("pets")
    plan.write_text(content)
    with pytest.raises(DataMinerError, match=r"plan\.json is damaged; run `data-miner calibrate pets --restart`"):
        write_questions(platform, "pets", num_questions=40)
    assert write_questions(platform, "pets", num_questions=40, restart=True).num_questions


def test_find_threshold__junk_keeps_its_threshold(platform: PlantedPlatform, tmp_path: Path) -> None:
    save_project(platform, junk=["slide"])
    filter_project(platform, "pets")
    answers = answer_all(write_questions(platform, "pets", num_questions=200), tmp_path / "answers.csv")
    found = find_threshold(platform, "pets", goal="precision", wanted=0.9, answers_file=answers)
    assert found.settings == {"positive_threshold": {"axis": found.threshold}, "junk_threshold": {"axis": 0.5}}


def test_find_threshold__too_few_answers(platform: PlantedPlatform, tmp_path: Path) -> None:
    write_questions(platform, "pets")
    answers = tmp_path / "answers.csv"
    answers.write_text("frame_id,answer\nlocal-a/000000,keep\nlocal-z/000000,drop\nlocal-a/000001,\n")
    found = find_threshold(platform, "pets", goal="precision", wanted=0.9, answers_file=answers)
    assert found.threshold is None
    assert (found.result.num_answers, found.num_unknown) == (1, 1)
    assert "1 answer is too few" in found.result.remark


def test_find_threshold__nobody_has_answered(platform: PlantedPlatform) -> None:
    found = find_threshold(platform, "pets", goal="precision", wanted=0.9)
    assert (found.threshold, found.num_questions, found.num_answered) == (None, 120, 0)
    assert "0 answers are too few" in found.result.remark


def say(platform: PlantedPlatform, positions: Sequence[int], queue: ReviewQueue, *, at: datetime | None = None) -> None:
    """Record the true answers on the review pages for the open frames at these positions."""
    frames = open_calibration(platform, "pets").frames
    verdicts = []
    for position in positions:
        frame_id = frames.frame_id(position)
        word = VerdictWord.KEEP if frames.similarities[position] >= TRUTH else VerdictWord.DROP
        given = frame_verdict(frame_id, float(frames.pts_seconds[position]), word)
        verdicts.append(replace(given, queue=queue, given_at=at or utc_now()))
    add_verdicts(platform.database, "pets", verdicts)


def test_find_threshold__from_verdicts(platform: PlantedPlatform) -> None:
    write_questions(platform, "pets")
    planned = open_calibration(platform, "pets").planned.tolist()
    say(platform, planned, ReviewQueue.CALIBRATION)
    found = find_threshold(platform, "pets", goal="precision", wanted=0.95)
    assert (found.result.num_answers, found.num_answered, found.num_questions) == (120, 120, 120)
    assert found.threshold == pytest.approx(TRUTH, abs=0.08)
    sheet = write_questions(platform, "pets")
    assert sheet.num_answered == 120
    assert {row["answer"] for row in questions(sheet)} == {"keep", "drop"}


def test_find_threshold__answers_of_the_filter_queue_are_no_random_sample(platform: PlantedPlatform) -> None:
    write_questions(platform, "pets")
    calibration = open_calibration(platform, "pets")
    headroom = calibration.frames.headroom
    nearest = np.argsort(np.abs(headroom))[:100].tolist()
    say(platform, nearest, ReviewQueue.FILTER)
    found = find_threshold(platform, "pets", goal="precision", wanted=0.95)
    # In the strata next to the threshold, every planned question is answered; answers in other strata do not count.
    innermost = stratum_of(headroom[nearest], calibration.plan.edges)
    assert 0 < found.result.num_answers < 100
    assert found.num_not_sampled == 100 - found.result.num_answers
    assert set(np.bincount(innermost).nonzero()[0]) >= {3, 4}
    rest = np.setdiff1d(calibration.planned, nearest).tolist()
    say(platform, rest, ReviewQueue.CALIBRATION)
    whole = find_threshold(platform, "pets", goal="precision", wanted=0.95)
    assert whole.num_answered == 120
    assert whole.result.num_answers >= 120
    assert whole.threshold == pytest.approx(TRUTH, abs=0.08)


def test_find_threshold__answers_from_before_a_restart_fix_no_sample(platform: PlantedPlatform) -> None:
    write_questions(platform, "pets")
    some = open_calibration(platform, "pets").planned.tolist()[:30]
    say(platform, some, ReviewQueue.CALIBRATION)
    assert find_threshold(platform, "pets", goal="precision", wanted=0.9).result.num_answers == 30
    write_questions(platform, "pets", restart=True)
    assert find_threshold(platform, "pets", goal="precision", wanted=0.9).result.num_answers == 0


def test_find_threshold__a_verdict_goes_before_a_line_of_a_file(platform: PlantedPlatform, tmp_path: Path) -> None:
    sheet = write_questions(platform, "pets")
    first = questions(sheet)[0]["frame_id"]
    answers = tmp_path / "answers.csv"
    answers.write_text(f"frame_id,answer\n{first},keep\n")
    find_threshold(platform, "pets", goal="recall", wanted=0.9, answers_file=answers)
    assert questions(write_questions(platform, "pets"))[0]["answer"] == "keep"
    frames = open_calibration(platform, "pets").frames
    position = frames.position_of(first)
    assert position is not None
    # as rounded by another tool
    seconds = float(frames.pts_seconds[position]) + 0.0004
    add_verdicts(platform.database, "pets", [frame_verdict(first, seconds, VerdictWord.DROP)])
    assert questions(write_questions(platform, "pets"))[0]["answer"] == "drop"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("frame_id,answer\nlocal-a/000000,maybe\n", "the answer 'maybe' in line 2 of .* is neither 'keep' nor 'drop'"),
        ("frame,verdict\n", "needs the columns frame_id and answer, but it has frame, verdict"),
        ("", "has no columns"),
        (None, "does not exist"),
    ],
)
def test_find_threshold__bad_answers(
    platform: PlantedPlatform, tmp_path: Path, content: str | None, message: str
) -> None:
    write_questions(platform, "pets")
    path = tmp_path / "answers.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        find_threshold(platform, "pets", goal="precision", wanted=0.9, answers_file=path)


@pytest.mark.parametrize("wanted", [0.0, 1.0, 90.0])
def test_find_threshold__goal_out_of_range(platform: PlantedPlatform, wanted: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        find_threshold(platform, "pets", goal="precision", wanted=wanted)


def test_read_drift__no_calibration(platform: PlantedPlatform) -> None:
    config = platform.project_config("pets").filtering
    assert read_drift(platform, "pets", config) is None
    assert "drift_psi" not in filter_project(platform, "pets").metadata


def test_filter_project__reports_drift_of_new_videos(
    platform: PlantedPlatform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sheet = write_questions(platform, "pets")
    find_threshold(platform, "pets", goal="recall", wanted=0.9, answers_file=answer_all(sheet, tmp_path / "a.csv"))
    assert "drift_psi" not in filter_project(platform, "pets").metadata  # no video is new
    generator = np.random.default_rng(1)
    plant_scores(platform, "local-c", generator.uniform(0, 1, 300))
    same = filter_project(platform, "pets").metadata
    assert (same["drift_frames"], same["is_drifted"]) == (300, 0)
    plant_scores(platform, "local-d", generator.uniform(0, 0.25, 600))
    other = filter_project(platform, "pets").metadata
    assert (other["drift_frames"], other["is_drifted"]) == (900, 1)
    # two thirds of the new frames are in the lowest quarter
    assert float(other["drift_ks"]) == pytest.approx(0.5, abs=0.07)
    assert "newer than its calibration have drifted" in caplog.text
    # similarities are on another scale, so there is nothing to compare with
    save_project(platform, positive=["cat", "dog"])
    assert "drift_psi" not in filter_project(platform, "pets").metadata
