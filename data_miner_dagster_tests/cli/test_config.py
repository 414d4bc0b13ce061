import json
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.cli.test_catalog import PROJECT


def test_check__project_platform_and_wrong_file(run_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(PROJECT)
    assert "valid; project bikes, 1 sources, 1 classes" in run_command("config", "check", path).stdout
    path.write_text("platform: {models: {profile: lite}}\n")
    assert "valid platform settings, no project" in run_command("config", "check", path).stdout
    path.write_text(PROJECT + "detections: {}\n")
    with pytest.raises(ConfigError, match=r"unknown key 'detections'; did you mean 'detection'\?"):
        run_command("config", "check", path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file.yaml"]


def test_schema__text_and_json(run_command: RunCommand) -> None:
    assert "`platform.extraction.every_seconds`" in run_command("config", "schema").stdout
    schema = json.loads(run_command("config", "schema", "--json").stdout)
    assert set(schema["required"]) == {"name", "sourcing", "filtering", "detection"}
