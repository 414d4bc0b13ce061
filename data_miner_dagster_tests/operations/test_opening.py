from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.opening import open_platform


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", "ROOT", "PROFILE", "CATALOG_URL"):
        monkeypatch.delenv(f"DATA_MINER_{name}", raising=False)


def test_open_platform__nothing_named_starts_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    platform = open_platform()
    assert platform.root == tmp_path / ".data_miner"
    assert not platform.has_catalog
    assert list(tmp_path.iterdir()) == []
    assert open_platform() is platform


def test_open_platform__environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "platform.yaml"
    config.write_text("platform: {extraction: {every_seconds: 3}}\n")
    monkeypatch.setenv("DATA_MINER_CONFIG", str(config))
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_PROFILE", "lite")
    platform = open_platform()
    assert platform.root == tmp_path / "root"
    assert platform.config.extraction.every_seconds == 3
    assert platform.config.models.profile == "lite"


def test_open_platform__wrong_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_CONFIG", str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError, match="no such file"):
        open_platform()
