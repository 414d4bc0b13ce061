import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelEntryConfig, ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.models.provider import THUMBNAILS, ModelProvider, load_model, seconds_of_loading
from data_miner_dagster.models.registry import ModelEntry


def test_provider__names_follow_profile_and_overrides() -> None:
    lite = ModelProvider(ModelsConfig(profile="lite"))
    assert (lite.filter_encoder.name, lite.dedup_encoder.name, lite.detector.name) == (
        "lite-conse",
        "lite-efficientnet",
        "lite-yolov3-tiny",
    )
    standard = ModelProvider(ModelsConfig(dedup_encoder="siglip2-so400m"))
    assert standard.filter_encoder.name == standard.dedup_encoder.name == "siglip2-so400m"
    assert standard.filter_encoder.fingerprint == standard.dedup_encoder.fingerprint
    assert standard.detector.name == "llmdet-tiny"
    assert standard.filter_encoder.calibration.positive_threshold == 0.10
    assert lite.dedup_encoder.calibration.duplicate_threshold == 0.70


def test_provider__image_only_encoder_cannot_filter() -> None:
    with pytest.raises(
        ConfigError, match=r"filter_encoder: 'dinov2-base' is of kind image_encoder; use one of .*siglip2"
    ):
        _ = ModelProvider(ModelsConfig(filter_encoder="dinov2-base")).filter_encoder.name


def test_check_available__missing_packages_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path))
    with pytest.raises(
        ModelError, match=r"lite-conse: the model cache lacks efficientnet.*models fetch --profile lite"
    ):
        ModelProvider(ModelsConfig(profile="lite")).check_available()


def test_check_available__missing_folder(tmp_path: Path) -> None:
    own = ModelEntryConfig(architecture="clip", source=f"file:{tmp_path}/none")
    with pytest.raises(ModelError, match="there is no folder"):
        ModelProvider(ModelsConfig(filter_encoder="own", registry={"own": own})).check_available()


def test_check_available__missing_companion_of_a_model(tmp_path: Path) -> None:
    own = ModelEntryConfig(
        architecture="clip", source=f"file:{tmp_path}", options={"text_model": f"file:{tmp_path}/no"}
    )
    with pytest.raises(ModelError, match=r"model own: there is no folder or file .*/no; correct its `text_model`"):
        ModelProvider(ModelsConfig(filter_encoder="own", registry={"own": own})).check_available()


def test_check_available__gated_model_without_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match=r"dinov3 .* is gated, and HF_TOKEN is not set; .*dinov2-base"):
        ModelProvider(ModelsConfig(dedup_encoder="dinov3")).check_available()
    with pytest.raises(ModelError, match=r"sam3 .* is gated, .*, such as llmdet-tiny"):
        ModelProvider(ModelsConfig()).check_available(["sam3"])
    with pytest.raises(
        ModelError, match=r"sam3 .* is gated, .* set HF_TOKEN to .*, or set detection\.tracking\.tracker to byte_track$"
    ):
        ModelProvider(ModelsConfig()).check_tracker_available("sam3")


def test_check_available__standard_needs_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    ModelProvider(ModelsConfig()).check_available()


def test_provider__models_that_earlier_roots_name_are_those_of_then() -> None:
    stored = ModelsConfig.model_validate(
        {"profile": "standard", "dedup_encoder": "dinov3", "detector": "grounding-dino-base"}
    )
    models = ModelProvider(stored)
    assert models.dedup_encoder.fingerprint == "b303f11528d69e31d4927103a5d90e87"
    assert models.detector.fingerprint == "07ea3203fe7681bb2c991c45d909bd01"


def test_check_allowed__another_licence_is_one_line_and_never_loads() -> None:
    open_only = ModelsConfig(allowed_licences=("apache-2.0", "MIT"), dedup_encoder="dinov3")
    refused = (
        "platform.models.allowed_licences allows only apache-2.0, MIT, but the licence of dinov3 "
        "(platform.models.dedup_encoder) is DINOv3 licence; "
        "choose dinov2-base or lite-efficientnet, or add this licence to the list"
    )
    with pytest.raises(ConfigError) as raised:
        ModelProvider(open_only).check_available()
    assert str(raised.value) == refused
    with pytest.raises(ConfigError, match="the licence of dinov3"):
        ModelProvider(open_only).dedup_encoder.load()


def test_check_allowed__every_licence_of_a_model_has_to_be_let_in() -> None:
    lite = ModelsConfig(profile="lite", allowed_licences=("Apache-2.0", "MIT", "Darknet"))
    with pytest.raises(
        ConfigError,
        match=r"the licences of lite-conse .platform.models.filter_encoder. are Apache-2.0 and MIT and Darknet and "
        r"WordNet-3.0; .*add all of these licences to the list",
    ):
        ModelProvider(lite).check_allowed()
    ModelProvider(
        ModelsConfig(profile="lite", allowed_licences=(*lite.allowed_licences, "WordNet-3.0"))
    ).check_allowed()


def test_check_allowed__own_models_and_a_projects_detectors() -> None:
    own = ModelEntryConfig(architecture="ultralytics", source="ultralytics:/models/own.pt")
    config = ModelsConfig(allowed_licences=("Apache-2.0",), registry={"yolo": own})
    ModelProvider(config).check_allowed()
    with pytest.raises(ConfigError, match=r"the licence of yolo \(detection.detectors\) is AGPL-3.0"):
        ModelProvider(config).check_allowed(["yolo"])
    bought = own.model_copy(update={"licence": "Ultralytics Enterprise"})
    with pytest.raises(ConfigError, match=r"of yolo \(detection.detectors\) is Ultralytics Enterprise"):
        ModelProvider(config.model_copy(update={"registry": {"yolo": bought}})).check_allowed(["yolo"])
    eyes = ModelEntryConfig(architecture="qwen3-vl", source="file:/nowhere", licence="Secret")
    looked_at = ModelProvider(config.model_copy(update={"registry": {"eyes": eyes}}))
    looked_at.check_allowed((), "ears")  # an unknown model or an endpoint, which other checks report
    with pytest.raises(ConfigError, match=r"the licence of eyes \(detection.verifier.model\) is Secret"):
        looked_at.check_allowed((), "eyes")
    with pytest.raises(ConfigError, match="the licence of eyes"):
        looked_at.verifier("eyes").load()
    unsaid = ModelEntryConfig(architecture="clip", source="hf:someone/net")
    with pytest.raises(
        ConfigError, match=r"the entry of net .* states no licence; .* set `platform\.models\.registry\.net\.licence`"
    ):
        ModelProvider(
            ModelsConfig(allowed_licences=("MIT",), filter_encoder="net", registry={"net": unsaid})
        ).check_allowed()


def test_check_available__hub_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE is set"):
        ModelProvider(ModelsConfig()).check_available()


def test_encoder__as_deduplication_names_them() -> None:
    models = ModelProvider(ModelsConfig(profile="lite"))
    assert models.encoder("filter") == models.filter_encoder
    assert models.encoder("dedup") == models.dedup_encoder
    assert [role.name for role in models.roles] == ["lite-conse", "lite-efficientnet", "lite-yolov3-tiny"]


def test_detectors__a_projects_own_or_the_platforms() -> None:
    models = ModelProvider(ModelsConfig(profile="lite"))
    assert models.detectors() == (models.detector,)
    named = models.detectors(["grounding-dino-base", "lite-yolov3-tiny"])
    assert [role.name for role in named] == ["grounding-dino-base", "lite-yolov3-tiny"]
    with pytest.raises(
        ConfigError, match=r"^detection.detectors: 'lite-conse' is of kind image_text_encoder; use one of"
    ):
        models.detectors(["lite-conse"])


def test_detectors__an_unknown_name_is_reported_under_the_key_that_has_it() -> None:
    models = ModelProvider(ModelsConfig(profile="lite"))
    with pytest.raises(ConfigError, match=r"^detection\.detectors: 'yolo11' is not in the model registry; use one of"):
        models.detectors(("yolo11",))
    with pytest.raises(ConfigError, match=r"^detection\.verifier\.model: 'qwen' is not in the model registry"):
        models.verifier("qwen")
    with pytest.raises(ConfigError, match=r"^platform\.models\.detector: 'yolo11' is not in the model registry"):
        _ = ModelProvider(ModelsConfig(detector="yolo11")).detector


def test_calibration__is_of_encoders() -> None:
    with pytest.raises(ModelError, match="lite-yolov3-tiny is a detector, which has no similarity thresholds"):
        _ = ModelProvider(ModelsConfig(profile="lite")).detector.calibration


def slow_model(entry: ModelEntry, device: str) -> tuple[str, str]:
    """Load a model after a short delay."""
    time.sleep(0.05)
    return entry.name, device


def test_seconds_of_loading__count_for_the_thread_that_waited() -> None:
    entry = replace(THUMBNAILS.entry, name="slow", loader=f"{__name__}:{slow_model.__name__}")
    before = seconds_of_loading()
    assert load_model(entry, "cpu") == ("slow", "cpu")
    after = seconds_of_loading()
    assert after - before >= 0.05
    assert load_model(entry, "cpu") == ("slow", "cpu")
    assert seconds_of_loading() == after  # it was already loaded
    with ThreadPoolExecutor(1) as other:
        assert other.submit(seconds_of_loading).result() == 0
