import logging
from pathlib import Path

import pytest

from data_miner_dagster.catalog.projects import find_project, find_projects, update_project
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import register_project_file

PROJECT = """\
name: bikes
sourcing: {sources: [{type: files, paths: [clips]}]}
filtering: {positive: [a bicycle]}
detection: {classes: {bicycle: []}}
"""


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(PlatformConfig(extraction=ExtractionConfig(every_seconds=2)), tmp_path / "root")


def test_register_project_file__wrong_file_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text("name: bikes\n")
    with pytest.raises(ConfigError, match="sourcing is missing"):
        register_project_file(platform, path)
    assert find_projects(platform.database) == []


def test_register_project_file__a_model_whose_licence_is_not_allowed(platform: Platform, tmp_path: Path) -> None:
    models = ModelsConfig(profile="lite", allowed_licences=("Apache-2.0", "MIT", "Darknet", "WordNet-3.0"))
    strict = Platform(platform.config.model_copy(update={"models": models}), platform.root)
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT.replace("{classes", "{detectors: [sam3], classes"))
    with pytest.raises(ConfigError, match=r"the licence of sam3 \(detection.detectors\) is SAM licence"):
        register_project_file(strict, path)
    path.write_text(PROJECT)
    assert register_project_file(strict, path).is_changed


def test_register_project_file__new_unchanged_and_changed(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT)
    first = register_project_file(platform, path)
    assert (first.name, first.is_changed) == ("bikes", True)
    assert register_project_file(platform, path).is_changed is False
    path.write_text(PROJECT.replace("a bicycle", "a tram"))
    second = register_project_file(platform, path)
    assert second.is_changed
    assert second.config_hash != first.config_hash
    assert platform.project_config("bikes").filtering.texts_of("positive") == ("a tram",)
    row = find_project(platform.database, "bikes")
    assert row is not None
    assert row.config_file == str(path)


@pytest.mark.parametrize("misfit", [{"name": 5}, {"interpolated": {"later": 1}}, {"interpolated": {"values": 3}}])
def test_register_project_file__after_settings_that_no_longer_fit(
    platform: Platform, tmp_path: Path, misfit: dict[str, object]
) -> None:
    """Registering the file again repairs stored settings that do not fit this version."""
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT)
    register_project_file(platform, path)
    row = find_project(platform.database, "bikes")
    assert row is not None
    update_project(platform.database, "bikes", config={**row.config, **misfit})  # as another version may have stored it
    with pytest.raises(ConfigError, match="do not fit this version"):
        platform.project_config("bikes")
    path.write_text(PROJECT.replace("a bicycle", "a tram"))
    assert register_project_file(platform, path).is_changed
    assert platform.project_config("bikes").filtering.texts_of("positive") == ("a tram",)


def test_register_project_file__another_sampling_is_refused(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT + "platform: {extraction: {every_seconds: 5}}\n")
    with pytest.raises(ConfigError, match=r"every_seconds is 5.0 instead of 2.0"):
        register_project_file(platform, path)
    path.write_text(PROJECT + "platform: {extraction: {every_seconds: 2}}\n")
    assert register_project_file(platform, path).is_changed


def test_register_project_file__other_platform_settings_are_said_not_to_be_in_force(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT + "platform: {models: {device: mps}}\n")
    with caplog.at_level(logging.WARNING, "data_miner_dagster"):
        assert register_project_file(platform, path).is_changed
    assert "platform.models has no effect (device is 'mps' instead of 'auto')" in caplog.text


def test_register_project_file__no_secret_is_repeated(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text(
        PROJECT + "platform: {downloading: {proxy: 'http://5EC12E7.test:80', user_agent: 'token=5EC12E7'}}\n"
    )
    with caplog.at_level(logging.WARNING, "data_miner_dagster"):
        register_project_file(platform, path)
    assert "proxy differs" in caplog.text
    assert "5EC12E7" not in caplog.text
