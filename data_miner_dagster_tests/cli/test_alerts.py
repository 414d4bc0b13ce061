"""What the commands about alerts print."""

from pathlib import Path

import pytest

from data_miner_dagster_tests.cli.conftest import RunCommand


def test_alerts_test__names_each_target_once(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "json://127.0.0.1:1/")
    told = run_command("alerts", "test", "env:HOOK", "env:ABSENT_HOOK", "--root", tmp_path / "root")
    assert told.exit_code == 1
    refused, absent = told.stderr.splitlines()[-2:]
    assert refused.startswith("env:HOOK could not be notified (")
    assert absent.startswith("env:ABSENT_HOOK: environment variable ABSENT_HOOK is not set")
