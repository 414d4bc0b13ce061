"""Test calibration from stored detections and verdicts to thresholds, on a planted project whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError, DataMinerError, OutOfDateError
from data_miner_dagster.operations.evaluation.calibration import calibrate_boxes
from data_miner_dagster.operations.evaluation.reviewed_frames import stored_detections
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.quality import quality_fingerprint, read_box_calibration
from data_miner_dagster_tests.operations.evaluation.reviewed_project import NUM_FRAMES, confidence, is_right
from data_miner_dagster_tests.support.sample_project import build_project


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
    assert 0.9 <= person.chosen.precision.value < 0.92
    assert (bicycle.num_answers, bicycle.num_more, bicycle.chosen) == (0, 0, None)
    assert found.settings == {"class_thresholds": {"person": person.chosen.threshold}}

    # ten objects on the random frames were never detected
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
    assert quality_fingerprint(again.calibration) == quality_fingerprint(calibration)


def test_calibrate_boxes__a_precision_that_cannot_be_aimed_at(platform: Platform) -> None:
    with pytest.raises(ConfigError, match="a precision of 1 is not possible"):
        calibrate_boxes(platform, "cyclists", wanted=1.0)


def test_stored_detections__of_a_class_that_the_project_no_longer_has(platform: Platform) -> None:
    detections = stored_detections(platform, "cyclists", platform.project_config("cyclists"))
    later = replace(detections, class_names=("bicycle",))
    with pytest.raises(OutOfDateError, match="boxes of 'person', which is no longer a class of the project"):
        later.on_frames("files-aaa")


def test_calibrate_boxes__nothing_said(tmp_path: Path) -> None:
    found = calibrate_boxes(build_project(tmp_path), "cyclists", wanted=0.9)
    assert found.missed is None
    assert found.settings == {}
    assert found.num_more == {"person": 4, "bicycle": 2}  # all boxes that are stored
    assert found.calibration.verdicts_by_person == {}
    text = CliRunner().invoke(app, ["calibrate", "cyclists", "--boxes", "--root", str(tmp_path)]).stdout
    assert "missed objects: not measured" in text
    command = f"`data-miner review cyclists --root {tmp_path}`"
    assert f"more verdicts are needed (4 for person, 2 for bicycle); give them in {command}" in text


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
    assert "bicycle: no boxes of this class are stored" in text
    assert "  class_thresholds: {person: 0." in text
    assert "left out: 1 verdict on a box from another detector or class list" in text
    content = json.loads(invoke("--json"))
    assert content["wanted_precision"] == 0.9
    assert content["missed"]["num_missed"] == 10
    assert content["classes"]["bicycle"]["chosen"] is None
    refused = CliRunner().invoke(
        app, ["calibrate", "cyclists", "--boxes", "--recall", "0.9", "--root", str(platform.root)]
    )
    assert isinstance(refused.exception, ConfigError)
