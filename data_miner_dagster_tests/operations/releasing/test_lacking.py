"""Test what a rebuild reports about models that are not on this machine: the commands that download them."""

from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.inputs import Recipe, present_recipe
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
        f"the weights of model {detector} are missing or incomplete on this machine; run `{command}`"
    ]


def test_lacking_models__one_was_missing_when_the_release_was_built(tmp_path: Path) -> None:
    """A release can be made without a model that only earlier stages need, but then it does not record its models."""
    folder = tmp_path / "own"
    own = {"architecture": "dinov2", "source": f"file:{folder}"}
    models = {"profile": "lite", "dedup_encoder": "own", "registry": {"own": own}}
    platform = Platform(PlatformConfig.model_validate({"models": models}), tmp_path)
    config = project_config("cyclists")
    recipe = present_recipe(platform, config, "v001", {})
    assert list(lacking_models(platform, config, recipe)) == [
        "a model was missing when the release was built, so the release does not record its models; restore the "
        "release from a backup instead"
    ]
