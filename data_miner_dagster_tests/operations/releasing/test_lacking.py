"""What a rebuild says about models that are not on this machine: commands that fetch them."""

from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.inputs import Recipe
from data_miner_dagster.operations.releasing.lacking import lacking_models
from data_miner_dagster_tests.support.sample_project import project_config


@pytest.mark.parametrize(
    ("detector", "command"),
    [
        ("llmdet-tiny", "data-miner models fetch --profile standard"),
        ("llmdet-large", "data-miner models fetch --model llmdet-large"),
        ("own", "data-miner models fetch --model own --config FILE"),
    ],
)
def test_lacking_models__names_the_command_that_fetches_the_model(
    detector: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    own = {"architecture": "mm-grounding-dino", "source": "hf:me/own", "revision": "0" * 40}
    models = {"profile": "standard", "detector": detector, "registry": {"own": own}}
    platform = Platform(PlatformConfig.model_validate({"models": models}), tmp_path)
    config = project_config("cyclists")
    (role,) = platform.models.detectors(config.detection.detectors)
    recipe = Recipe({}, {}, {"detector 1": (role.name, role.fingerprint)}, {}, {}, "", {})
    assert list(lacking_models(platform, config, recipe)) == [
        f"the weights of model {detector} are not (or not all) on this machine; run `{command}`"
    ]
