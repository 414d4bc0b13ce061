"""Test what a release states about its quality, overall and for each box, if people have reviewed its project."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.evaluation.calibration import calibrate_boxes
from data_miner_dagster.operations.evaluation.evaluate import evaluate_boxes
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.storage.quality import read_box_calibration, write_quality
from data_miner_dagster_tests.support.sample_project import build_project


def release(platform: Platform) -> Path:
    outcome = release_project(platform, "cyclists")
    return Path(str(outcome.metadata["release"]))


def test_release_project__not_measured(tmp_path: Path) -> None:
    folder = release(build_project(tmp_path, releasing={"unsure": "as_negative"}))
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest["quality"]["state"], manifest["quality"]["precision"]) == ("not_measured", None)
    assert manifest["quality"]["classes"]["person"]["origin"] == "default"
    datasheet = (folder / "datasheet.md").read_text()
    assert "- Precision of boxes: not measured; give verdicts on boxes in `data-miner review cyclists`" in datasheet
    assert "- Boxes that a person has examined: 0 of 5 (0.0 %)." in datasheet
    report = (tmp_path / "reports" / "cyclists" / "index.html").read_text()
    assert "not measured; give verdicts on boxes in <code>data-miner review cyclists</code>" in report


def test_release_project__says_what_was_measured(platform: Platform, tmp_path: Path) -> None:
    shutil.copytree(platform.root, tmp_path / "root")
    reviewed = Platform(platform.config, tmp_path / "root")
    found = calibrate_boxes(reviewed, "cyclists", wanted=0.9)
    first = release(reviewed)
    manifest = read_manifest(first)
    assert manifest is not None
    in_force = found.calibration.classes["person"].in_force
    assert in_force is not None
    quality = manifest["quality"]
    assert quality["state"] == "measured"
    assert quality["classes"]["person"]["precision"]["value"] == in_force.precision.value
    assert quality["missed"]["num_missed"] == 10
    boxes = pq.read_table(first / "data" / "boxes.parquet").to_pylist()
    assert quality["num_boxes_seen_by_people"] == sum(box["verdict"] is not None for box in boxes) > 0
    detected = [box for box in boxes if box["detector"] != "person"]
    calibrated = sorted((box["confidence"], box["confidence_calibrated"]) for box in detected)
    assert all(value is not None for _, value in calibrated)
    assert [value for _, value in calibrated] == sorted(value for _, value in calibrated)
    datasheet = (first / "datasheet.md").read_text()
    assert "10 of " in datasheet
    assert "objects in 20 random frames" in datasheet
    assert "Ada" not in datasheet + json.dumps(manifest)  # people are counted but not named

    # the same verdicts give the same release; another calibration gives another release
    calibrate_boxes(reviewed, "cyclists", wanted=0.9)
    assert release(reviewed) == first
    calibrate_boxes(reviewed, "cyclists", wanted=0.8)
    second = release(reviewed)
    assert second.name != first.name

    # a calibration of another detector is reported as such but not used
    file = reviewed.layout.box_calibration("cyclists")
    kept = read_box_calibration(file)
    assert kept is not None
    write_quality(file, replace(kept, detection_fingerprint="of a better detector"))
    third = release(reviewed)
    manifest = read_manifest(third)
    assert manifest is not None
    assert manifest["quality"]["state"] == "other_detector"
    boxes = pq.read_table(third / "data" / "boxes.parquet").to_pylist()
    assert {box["confidence_calibrated"] for box in boxes} == {None}

    # the report shows a new evaluation immediately, and no other file changes
    before = (third / "release.json").read_bytes()
    outcome = evaluate_boxes(reviewed, "cyclists", truth="reviewed")
    assert outcome.report is not None
    page = outcome.report.read_text()
    assert page.count("<polyline") == 4
    assert "Confusion matrix" in page
    assert (third / "release.json").read_bytes() == before
    of_release = evaluate_boxes(reviewed, "cyclists", truth="reviewed", version=third.name)
    assert of_release.evaluation.predictions == third.name
    assert any("the release applies people's verdicts" in line for line in of_release.remarks)
    assert of_release.evaluation.figures["AP50"] == pytest.approx(1.0)
