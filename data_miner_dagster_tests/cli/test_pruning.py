from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from data_miner_dagster.cli.pruning import parse_age
from data_miner_dagster.deployment import existing_instance, prepare_dagster_home
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.mark.parametrize(("text", "age"), [("30d", timedelta(30)), ("12h", timedelta(0.5)), ("1.5w", timedelta(10.5))])
def test_parse_age(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "1e3d", "9999999d"])
def test_parse_age__none(text: str) -> None:
    with pytest.raises(ConfigError, match=f"--older-than '{text}' is"):
        parse_age(text)


def test_prune__says_what_went(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    root = ["--root", str(tmp_path)]
    assert run_command("prune", *root).stdout == "Dagster has no history yet\n"
    with existing_instance(prepare_dagster_home(platform.layout)) as instance:
        create_run_for_test(instance, status=dg.DagsterRunStatus.SUCCESS, tags={"data_miner/batch": "1"})
        create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags={"data_miner/batch": "2"})
        assert run_command("prune", *root).stdout.startswith("removed 0 runs with 0 events and their logs, 0 ticks; ")
        would = run_command("prune", "--older-than", "0d", "--dry-run", *root).stdout
        assert would.startswith("would remove 1 run with 0 events and their logs, 0 ticks; ")
        assert len(instance.get_runs()) == 2
        assert run_command("prune", "--older-than", "0d", *root).stdout.startswith("removed 1 run ")
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.STARTED]
