"""From stored detections and verdicts to thresholds, on a planted project whose truth is known."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.operations.evaluation.calibration import calibrate_boxes
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.box_calibration import calibration_fingerprint, read_box_calibration
from data_miner_dagster_tests.support.sample_project import FRAME_WH, SampleVideo, build_project
from data_miner_dagster_tests.support.verdicts import NOON

NUM_FRAMES = 40
LEFTS = (1.0, 17.0, 33.0, 49.0)
"""Where the four boxes of a frame begin; each is 12 wide and 40 high. The last one is never detected."""


def confidence(frame: int, place: int) -> float:
    return round(0.1 + 0.85 * ((frame * 3 + place) % 120) / 120, 4)


def is_right(frame: int, place: int) -> bool:
    return confidence(frame, place) >= 0.5


def box_at(left: float) -> tuple[float, float, float, float]:
    return (left, 4.0, left + 12.0, 44.0)


def shares_at(left: float) -> tuple[float, float, float, float]:
    width, height = FRAME_WH
    return (left / width, 4 / height, (left + 12) / width, 44 / height)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """40 frames with three boxes of persons each: those from .5 up are right. Ada judged the frames, half of them as a
    random sample, completely; Ben said something about a box of an earlier detector."""
    boxes = {
        frame: [("person", confidence(frame, place), box_at(LEFTS[place])) for place in range(3)]
        for frame in range(NUM_FRAMES)
    }
    platform = build_project(
        tmp_path_factory.mktemp("root"), videos=[SampleVideo("files-aaa", num_frames=NUM_FRAMES, boxes=boxes)]
    )
    add_verdicts(platform.database, "cyclists", [verdict for frame in range(NUM_FRAMES) for verdict in said_of(frame)])
    return platform


def said_of(frame: int) -> list[Verdict]:
    place, frame_id = FramePlace("files-aaa", float(frame)), f"files-aaa/{frame:06d}"
    queue = ReviewQueue.RANDOM if frame % 2 else ReviewQueue.NEAR_THRESHOLD
    given = NOON + timedelta(days=frame // 20)

    def answer(name: str, word: VerdictWord, shown: ShownBox | None = None) -> Verdict:
        return Verdict(f"{frame}-{name}", word, place, frame_id, queue, "Ada", given, shown=shown)

    verdicts = [
        answer(
            f"box-{number}",
            VerdictWord.RIGHT if is_right(frame, number) else VerdictWord.WRONG,
            ShownBox("person", shares_at(LEFTS[number]), "lite", "detector", confidence(frame, number)),
        )
        for number in range(3)
    ]
    if frame % 2:
        verdicts.append(answer("complete", VerdictWord.COMPLETE))
        if frame % 4 == 1:
            verdicts.append(answer("drawn", VerdictWord.MISSING, ShownBox("person", shares_at(LEFTS[3]))))
    if frame == 0:
        old = answer("old", VerdictWord.RIGHT, ShownBox("bicycle", (0.0, 0.0, 0.5, 0.5), "lite", "earlier", 0.9))
        verdicts.append(replace(old, who="Ben"))
    return verdicts


def test_calibrate_boxes__threshold_missed_objects_and_what_is_kept(platform: Platform) -> None:
    found = calibrate_boxes(platform, "cyclists", wanted=0.9)
    person, bicycle = found.calibration.classes["person"], found.calibration.classes["bicycle"]
    right = [is_right(frame, place) for frame in range(NUM_FRAMES) for place in range(3)]
    assert (person.num_answers, person.num_right) == (120, sum(right))
    assert person.chosen is not None
    assert person.in_force is not None
    above = [number for frame in range(NUM_FRAMES) for place in range(3) if (number := confidence(frame, place)) >= 0.3]
    assert person.in_force.num_boxes == len(above)
    true_precision = sum(number >= 0.5 for number in above) / len(above)
    # every box is judged, so nothing is left to chance
    assert (person.in_force.precision.low, person.in_force.precision.high) == (true_precision, true_precision)
    assert 0.4 < person.chosen.threshold <= 0.5
    assert person.chosen.precision.value >= 0.85
    assert (bicycle.num_answers, bicycle.num_more, bicycle.chosen) == (0, 150, None)
    assert found.settings == {"class_thresholds": {"person": person.chosen.threshold}}

    # of the random frames, ten have an object that was never detected
    num_objects = sum(is_right(frame, place) for frame in range(1, NUM_FRAMES, 2) for place in range(3)) + 10
    assert found.missed is not None
    assert (found.missed.num_objects, found.missed.num_missed) == (num_objects, 10)
    assert found.missed.share.value == 10 / num_objects
    calibration = found.calibration
    assert (calibration.num_random_frames, calibration.num_frames, calibration.num_other_detector) == (20, 40, 1)
    assert (calibration.detection_fingerprint, calibration.first_day, calibration.last_day) == (
        "detector",
        "2026-01-02",
        "2026-01-03",
    )
    assert calibration.verdicts_by_person == {"Ada": 150, "Ben": 1}

    kept = read_box_calibration(platform.layout.box_calibration("cyclists"))
    assert kept == calibration
    before = found.file.read_bytes()
    again = calibrate_boxes(platform, "cyclists", wanted=0.9)
    assert again.file.read_bytes() == before
    assert calibration_fingerprint(again.calibration) == calibration_fingerprint(calibration)


def test_calibrate_boxes__a_precision_that_cannot_be_aimed_at(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="a precision of 1 cannot be aimed at"):
        calibrate_boxes(platform, "cyclists", wanted=1.0)


def test_calibrate_boxes__nothing_said(tmp_path: Path) -> None:
    found = calibrate_boxes(build_project(tmp_path), "cyclists", wanted=0.9)
    assert found.missed is None
    assert found.settings == {}
    assert found.num_more == {"person": 150, "bicycle": 150}
    assert found.calibration.verdicts_by_person == {}


def test_read_box_calibration__damaged(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    assert read_box_calibration(path) is None
    path.write_text("{}")
    with pytest.raises(DataMinerError, match=r"boxes\.json is damaged"):
        read_box_calibration(path)


def test_calibrate__boxes_in_the_terminal(platform: Platform) -> None:
    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["calibrate", "cyclists", "--boxes", "--root", str(platform.root), *arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = invoke("--precision", "0.9")
    assert "bicycle: 0 verdicts are too few for a threshold; 150 more are needed" in text
    assert "  class_thresholds: {person: 0." in text
    assert "1 verdict is on a box of another detector or class list: not counted" in text
    assert "`data-miner review cyclists` takes them" in text
    content = json.loads(invoke("--json"))
    assert content["wanted_precision"] == 0.9
    assert content["missed"]["num_missed"] == 10
    assert content["classes"]["bicycle"]["chosen"] is None
    refused = CliRunner().invoke(
        app, ["calibrate", "cyclists", "--boxes", "--recall", "0.9", "--root", str(platform.root)]
    )
    assert isinstance(refused.exception, ConfigError)
