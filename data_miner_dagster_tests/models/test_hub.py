"""Which network a checkpoint holds, asked of its configuration alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster_tests.end_to_end.platform_process import free_port


def provider_of(folder: Path, architecture: str, config: object) -> ModelProvider:
    (folder / "config.json").write_text(json.dumps(config))
    entry = {"architecture": architecture, "source": f"file:{folder}"}
    return ModelProvider(
        ModelsConfig.model_validate({"profile": "lite", "detector": "own", "registry": {"own": entry}})
    )


@pytest.mark.parametrize(
    ("architecture", "config", "remedy"),
    [
        ("rf-detr", {"model_type": "d_fine"}, "set `platform.models.registry.own.architecture: d-fine`"),
        ("rt-detr", {"model_type": "deimv2"}, "set `platform.models.registry.own.architecture: deimv2`"),
        ("d-fine", {"model_type": "rt_detr"}, "set `platform.models.registry.own.architecture: rt-detr`"),
        ("grounding-dino", {"model_type": "mm-grounding-dino"}, "architecture: mm-grounding-dino`"),
        ("mm-grounding-dino", {"model_type": "grounding-dino"}, "architecture: grounding-dino`"),
        ("owlv2", {"model_type": "sam3_video", "architectures": ["Sam3VideoModel"]}, "architecture: sam3`"),
        ("sam3", {"model_type": "owlv2"}, "architecture: owlv2`"),
        ("rt-detr", {"model_type": "yolos"}, "choose a checkpoint of type rt_detr or rt_detr_v2 or d_fine"),
        ("owlv2", {"model_type": "owlvit"}, "no architecture loads it: choose a checkpoint of type owlv2"),
        (
            "rf-detr",
            {"model_type": "rf_detr", "architectures": ["RfDetrModel"]},
            "no architecture loads it: choose a checkpoint of type rf_detr",
        ),
    ],
)
def test_check_network__another_architecture(
    architecture: str, config: dict[str, object], remedy: str, tmp_path: Path
) -> None:
    """There are no weights to read, so a message that names the type was there before any would have been read."""
    models = provider_of(tmp_path, architecture, config)
    entry = models.detector.entry
    ways: list[Callable[[], object]] = [models.detector.load, models.check_available]
    if entry.class_names is not None:
        ways.append(lambda: check_classes(entry, []))
    for ask in ways:
        with pytest.raises(ModelError) as raised:
            ask()
        message = str(raised.value)
        assert f"is of type {config['model_type']!r}" in message
        assert f"which architecture {architecture!r} does not load" in message
        assert remedy in message
        assert "\n" not in message


def test_check_network__configuration_that_says_nothing(tmp_path: Path) -> None:
    provider_of(tmp_path, "owlv2", {}).check_available()


def test_check_network__configuration_that_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"own .* could not be loaded: config\.json is not a mapping"):
        provider_of(tmp_path, "owlv2", []).check_available()
    models = provider_of(tmp_path, "owlv2", {})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"own .* could not be loaded: Expecting property name"):
        models.check_available()


@pytest.fixture
def hub_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A hub at a port where nobody listens, and an empty cache."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return address


def test_check_reachable__no_network_is_one_line_with_ways_out(hub_of_nobody: str) -> None:
    detector = ModelProvider(ModelsConfig(profile="standard")).detector
    for ask in (detector.check_reachable, detector.load):
        with pytest.raises(ModelError) as raised:
            ask()
        message = str(raised.value)
        assert message.startswith(f"the model hub {hub_of_nobody} does not answer (")
        assert f"and model {detector.name} (" in message
        assert "`data-miner models fetch`" in message
        assert "`--profile lite`" in message
        assert "\n" not in message


def test_check_reachable__asks_once_and_not_for_models_that_are_here(
    hub_of_nobody: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider_of(tmp_path, "d-fine", {"model_type": "d_fine"}).detector.check_reachable()
    ModelProvider(ModelsConfig(profile="lite")).detector.check_reachable()
    monkeypatch.setattr("data_miner_dagster.models.hub._answering", {hub_of_nobody})
    ModelProvider(ModelsConfig(profile="standard")).detector.check_reachable()
