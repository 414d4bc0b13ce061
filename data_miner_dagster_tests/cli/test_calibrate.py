"""`data-miner calibrate` as a person types it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.cli import calibrate as calibrate_module
from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.questions import open_calibration
from data_miner_dagster_tests.support.axis_project import (
    PlantedPlatform,
    plant_frames,
    save_project,
)
from data_miner_dagster_tests.support.catalog import add_video


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlantedPlatform:
    """A platform with a filtered project; the command gets this platform, because no registry has its encoder."""
    platform = PlantedPlatform(tmp_path)
    save_project(platform)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    scores = np.random.default_rng(0).uniform(0, 1, 400).tolist()
    plant_frames(platform, "local-a", [[score, 0, 0, 0] for score in scores])
    filter_project(platform, "pets")
    monkeypatch.setattr(calibrate_module, "opened_existing", lambda *_: platform)
    return platform


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["calibrate", "pets", *arguments])


def test_calibrate__questions_then_a_threshold(platform: PlantedPlatform, tmp_path: Path) -> None:
    asked = invoke("--frames", "150")
    assert asked.exit_code == 0
    assert "150 of 400 frames to ask about, 0 answered so far" in asked.stdout
    assert "data-miner review pets  asks about them, under *Filter threshold*" in asked.stdout
    table = platform.layout.calibration_folder("pets") / "questions.csv"
    answers = tmp_path / "answers.csv"
    with table.open(newline="") as source, answers.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["frame_id", "answer"])
        for row in csv.DictReader(source):
            writer.writerow([row["frame_id"], "keep" if float(row["similarity"]) >= 0.75 else "drop"])
    found = invoke("--answers", str(answers), "--precision", "0.9")
    assert found.exit_code == 0
    assert "150 answers" in found.stdout
    assert "  positive_threshold: {axis: 0.7" in found.stdout
    content = json.loads(invoke("--recall", "0.9", "--json").stdout)
    assert content["num_answers"] == 150
    assert content["chosen"]["recall"]["low"] <= content["chosen"]["recall"]["value"]
    assert content["settings"] == {"positive_threshold": {"axis": content["threshold"]}}


def test_calibrate__writes_the_threshold_into_the_project_file(platform: PlantedPlatform, tmp_path: Path) -> None:
    file = tmp_path / "pets.yaml"
    file.write_text("name: pets  # mine\nfiltering:\n  positive: [cat]\n")
    file.chmod(0o640)
    update_project(platform.database, "pets", config_file=str(file))
    calibration = open_calibration(platform, "pets")
    answers = tmp_path / "answers.csv"
    with answers.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["frame_id", "answer"])
        for position in calibration.planned.tolist():
            is_good = calibration.frames.similarities[position] >= 0.75
            writer.writerow([calibration.frames.frame_id(position), "keep" if is_good else "drop"])
    shown = invoke("--answers", str(answers), "--precision", "0.9")
    assert f"put this under `filtering:` in {file} (or use --write):" in shown.stdout
    assert (
        f"next: run `data-miner run --config {file} --root {platform.root}` (nothing before filtering" in shown.stdout
    )
    assert file.read_text() == "name: pets  # mine\nfiltering:\n  positive: [cat]\n"
    found = json.loads(invoke("--precision", "0.9", "--write", "--json").stdout)
    assert (found["project_file"], found["is_written"]) == (str(file), True)
    threshold = found["threshold"]
    assert file.read_text() == (
        f"name: pets  # mine\nfiltering:\n  positive_threshold: {{axis: {threshold}}}\n  positive: [cat]\n"
    )
    assert file.stat().st_mode & 0o777 == 0o640
    update_project(platform.database, "pets", config_file=None)
    result = invoke("--precision", "0.9", "--write")
    assert isinstance(result.exception, ConfigError)
    assert "has no file to write the settings to" in str(result.exception)


@pytest.mark.usefixtures("platform")
def test_calibrate__too_few_answers(tmp_path: Path) -> None:
    invoke()
    (tmp_path / "answers.csv").write_text("frame_id,answer\nlocal-a/000001,keep\n")
    found = invoke("--answers", str(tmp_path / "answers.csv"), "--recall", "0.9")
    assert found.exit_code == 0
    assert "1 answer is too few for a threshold; give at least 20" in found.stdout.splitlines()  # the whole line
    assert "positive_threshold" not in found.stdout
    assert found.stdout.splitlines()[-1].startswith("next: run `data-miner review pets --root ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "0.9", "--recall", "0.9"], "are alternative goals"),
        (["--answers", "a.csv"], "--answers needs a goal"),
        (["--write"], "--write needs a goal"),
        (["--precision", "0.9", "--answers", "missing.csv"], "missing.csv does not exist"),
        (["--precision", "90"], "between 0 and 1"),
        (["--precision", "0.9", "--restart"], "--restart draws new questions"),
    ],
)
@pytest.mark.usefixtures("platform")
def test_calibrate__mistakes(arguments: list[str], message: str) -> None:
    invoke()
    result = invoke(*arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
