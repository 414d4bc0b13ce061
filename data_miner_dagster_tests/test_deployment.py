"""Test DAGSTER_HOME and the dagster.yaml in it."""

import hashlib
from pathlib import Path

import pytest
import yaml

from data_miner_dagster import deployment
from data_miner_dagster.deployment import deployment_file, prepare_dagster_home
from data_miner_dagster.jobs import JOBS
from data_miner_dagster.storage.layout import StorageLayout


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "dagster.yaml"


def prepared(settings: Path) -> str:
    prepare_dagster_home(StorageLayout(settings.parent / "root"))
    return settings.read_text()


def test_prepare_dagster_home__a_copy_of_an_earlier_version_that_nobody_changed_is_replaced(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = deployment_file("dagster.yaml").read_text()
    assert prepared(settings) == ours
    earlier = f"{ours}# of an earlier version\n"
    monkeypatch.setattr(deployment, "_EARLIER_SETTINGS", {hashlib.sha256(earlier.encode()).hexdigest()})
    settings.write_text(earlier)
    assert prepared(settings) == ours
    changed = f"{earlier}# and changed\n"
    settings.write_text(changed)
    assert prepared(settings) == changed


def test_settings__no_run_is_ended_for_how_long_it_runs() -> None:
    docker = Path(__file__).parent.parent / "docker" / "dagster.yaml"
    for file in (deployment_file("dagster.yaml"), docker):
        monitoring = yaml.safe_load(file.read_text())["run_monitoring"]
        assert monitoring["enabled"]
        assert "max_runtime_seconds" not in monitoring
        assert hashlib.sha256(file.read_bytes()).hexdigest() not in deployment._EARLIER_SETTINGS
    assert {(job.tags or {}).get("dagster/max_runtime") for job in JOBS.values()} == {"0"}  # also with edited settings
