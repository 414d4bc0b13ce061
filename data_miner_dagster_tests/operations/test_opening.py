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


def test_open_platform__empty_variables_name_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONFIG", "ROOT", "PROFILE"):
        monkeypatch.setenv(f"DATA_MINER_{name}", "")
    assert open_platform().root == tmp_path / ".data_miner"


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
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist"):
        open_platform()


def test_open_platform__what_is_passed_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROOT", "CONFIG", "PROFILE"):
        monkeypatch.setenv(f"DATA_MINER_{name}", "nowhere")
    config = tmp_path / "platform.yaml"
    config.write_text("platform: {extraction: {every_seconds: 3}}\n")
    platform = open_platform(tmp_path / "root", config, "lite")
    assert platform.root == tmp_path / "root"
    assert platform.config.extraction.every_seconds == 3
    assert platform.config.models.profile == "lite"
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_CONFIG", str(config))
    monkeypatch.setenv("DATA_MINER_PROFILE", "lite")
    assert open_platform() is platform  # so that Dagster's resource in this process finds it


def test_open_platform__sections_that_are_not_set_are_those_the_root_remembers(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    remembered = '{"extraction": {"every_seconds": 7}, "models": {"profile": "lite"}, "logging": {"format": "json"}}'
    (root / "platform.json").write_text(remembered)
    platform = open_platform(root)
    assert platform.config.extraction.every_seconds == 7
    assert platform.config.models.profile == "lite"
    assert platform.config.logging.format == "text"  # a root does not store this section
    assert open_platform(root, profile="standard").config.models.profile == "standard"
    config = tmp_path / "platform.yaml"
    config.write_text("platform: {extraction: {every_seconds: 3}}\n")
    given = open_platform(root, config)
    assert (given.config.extraction.every_seconds, given.config.models.profile) == (3, "lite")


def test_compare_sampling__stored_settings_that_do_not_fit_beside_those_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "platform.yaml"
    config.write_text("platform: {extraction: {every_seconds: 3}}\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "platform.json").write_text('{"extraction": {"every_seconds": 3, "of_tomorrow": 1}}')
    platform = open_platform(tmp_path / "root", config)
    with pytest.raises(
        ConfigError, match=r"platform\.json does not fit this version \(.*'of_tomorrow' in extraction is"
    ):
        platform.compare_sampling()
