import json
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand


def test_list__marks_what_the_profile_uses(run_command: RunCommand, tmp_path: Path) -> None:
    result = run_command("models", "list", "--profile", "lite", "--root", tmp_path, "--json")
    used = {row["name"] for row in json.loads(result.stdout) if row["is_used"]}
    assert {"lite-conse", "lite-efficientnet"} <= used
    assert len(used) == 3
    assert "Apache-2.0" in run_command("models", "list", "--root", tmp_path).stdout


def test_fetch__unknown_profile(run_command: RunCommand) -> None:
    with pytest.raises(ConfigError, match=r"profile 'light' does not exist; use one of lite, standard"):
        run_command("models", "fetch", "--profile", "light")


def test_classes__of_a_fixed_and_of_an_open_vocabulary(run_command: RunCommand, tmp_path: Path) -> None:
    names = run_command("models", "classes", "lite-yolov3-tiny", "--root", tmp_path).stdout.splitlines()
    assert (len(names), names[0], names[-1]) == (80, "person", "toothbrush")
    told = run_command("models", "classes", "grounding-dino-base", "--root", tmp_path).stdout
    assert told == "grounding-dino-base has no list of classes, because it detects anything that a phrase describes\n"
