"""Models are loaded and prompts embedded before the builds that need them."""

from pathlib import Path

import pytest

from data_miner_dagster.operations.preparing import Preparation
from data_miner_dagster.operations.prompts import embed_prompts
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, save_project
from data_miner_dagster_tests.support.models import OneBox, PlantedModels


def loads_of(platform: PlantedPlatform) -> list[str]:
    assert isinstance(platform.models, PlantedModels)
    return platform.models.loads


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    planted = PlantedPlatform(tmp_path, detectors=[OneBox((0, 0, 1, 1))])
    save_project(planted, "pets", templates=["{}"])
    save_project(planted, "streets", positive=["bus"], templates=["{}"])
    return planted


def test_begin__prompts_are_embedded_once_and_models_loaded(platform: PlantedPlatform) -> None:
    with Preparation(platform, loads_models=True) as preparation:
        preparation.begin(["pets"])
        preparation.begin(["streets", "pets"])
    assert platform.encoder.texts_embedded == ["cat", "bus"]
    assert loads_of(platform).count("one-box") == 2  # once per project
    embed_prompts(platform, ["cat", "bus"])  # as the stage does
    assert platform.encoder.texts_embedded == ["cat", "bus"]


def test_begin__other_processes_load_their_models_themselves(platform: PlantedPlatform) -> None:
    with Preparation(platform, loads_models=False) as preparation:
        preparation.begin(["pets"])
    assert set(loads_of(platform)) == {"axis"}


def test_begin__what_goes_wrong_is_left_to_the_stage(
    platform: PlantedPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    with Preparation(platform, loads_models=False) as preparation:
        preparation.begin(["gardens", "pets"])
    assert "gardens" in caplog.text
    assert platform.encoder.texts_embedded == ["cat"]
