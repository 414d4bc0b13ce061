import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelEntryConfig, ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.models.architectures import Capability
from data_miner_dagster.models.registry import BUILT_IN, PROFILES, entries_of, find_entry

ENCODERS = frozenset({Capability.IMAGE_ENCODER, Capability.IMAGE_TEXT_ENCODER})


def _folder_model(folder: Path, content: bytes) -> ModelsConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return ModelsConfig(registry={"own": ModelEntryConfig(architecture="dinov2", source=f"file:{folder}")})


def test_entries_of__without_own_models_the_built_in_ones() -> None:
    assert entries_of(ModelsConfig()) == dict(sorted(BUILT_IN.items()))


def test_built_in__every_entry_is_pinned_licensed_and_unlike_the_others() -> None:
    for entry in BUILT_IN.values():
        assert entry.licence
        if entry.scheme == "hf":
            assert entry.is_pinned is (entry.revision_named_by is not None), entry.name
            assert entry.revision == "main" or len(entry.revision or "") == 40
        else:
            assert entry.is_pinned, entry.name
        assert (entry.calibration is None) is (entry.capability is Capability.DETECTOR)
    fingerprints = [entry.fingerprint for entry in BUILT_IN.values()]
    assert len(set(fingerprints)) == len(fingerprints)


def test_profiles__defaults_are_pinned_open_and_need_no_token() -> None:
    for profile in PROFILES.values():
        for entry in profile.entries:
            assert entry.is_pinned
            assert not entry.is_gated
    assert {entry.licence for entry in PROFILES["standard"].entries} == {"Apache-2.0"}


def test_profiles__each_names_one_model_of_each_kind() -> None:
    for profile in PROFILES.values():
        capabilities = [entry.capability for entry in profile.entries]
        assert capabilities == [Capability.IMAGE_TEXT_ENCODER, Capability.IMAGE_ENCODER, Capability.DETECTOR]


def test_fingerprint__of_a_folder_follows_its_content_not_its_place(tmp_path: Path) -> None:
    first = entries_of(_folder_model(tmp_path / "a", b"weights"))["own"].fingerprint
    assert entries_of(_folder_model(tmp_path / "b", b"weights"))["own"].fingerprint == first
    assert entries_of(_folder_model(tmp_path / "a", b"other weights"))["own"].fingerprint != first


def test_fingerprint__follows_revision_and_options() -> None:
    def entry(**values: object) -> str:
        config = ModelEntryConfig.model_validate({"architecture": "dinov2", "source": "hf:someone/net", **values})
        return entries_of(ModelsConfig(registry={"own": config}))["own"].fingerprint

    variants = [
        entry(),
        entry(revision="a" * 40),
        entry(options={"pooling": "mean"}),
        entry(options={"pooling": "cls"}),
    ]
    assert len(set(variants)) == 4
    assert entry() == entry(licence="MIT", duplicate_threshold=0.5)


def test_fingerprint__follows_preprocessing() -> None:
    entry = entries_of(ModelsConfig())["lite-efficientnet"]
    assert replace(entry, preprocessing_version=entry.preprocessing_version + 1).fingerprint != entry.fingerprint
    assert replace(entry).fingerprint == entry.fingerprint


def test_fingerprint__of_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    config = ModelsConfig(registry={"own": ModelEntryConfig(architecture="clip", source=f"file:{tmp_path}/none")})
    with pytest.raises(ModelError, match="does not exist or is a folder without files"):
        _ = entries_of(config)["own"].fingerprint


def test_entries_of__own_entry_replaces_a_built_in_one_and_keeps_family_thresholds() -> None:
    config = ModelEntryConfig(architecture="siglip2", source="hf:someone/net", duplicate_threshold=0.5)
    entry = entries_of(ModelsConfig(registry={"siglip2-so400m": config}))["siglip2-so400m"]
    assert (entry.location, entry.revision, entry.is_pinned) == ("someone/net", "main", False)
    assert entry.calibration is not None
    assert entry.calibration.duplicate_threshold == 0.5
    assert entry.calibration.positive_threshold == 0.10


def test_entries_of__unknown_architecture_and_package_are_errors() -> None:
    for source, architecture, message in (
        ("hf:a/b", "resnet", "use one of .*siglip2"),
        ("pypi:torch==1.0", "clip", "packages that are not pinned .torch.; use "),
    ):
        config = ModelsConfig(registry={"own": ModelEntryConfig(architecture=architecture, source=source)})
        with pytest.raises(ConfigError, match=message):
            entries_of(config)


def test_models_config__names_must_be_safe_as_folders() -> None:
    entry = {"architecture": "clip", "source": "hf:a/b"}
    with pytest.raises(ValueError, match="not safe as a folder name"):
        ModelsConfig.model_validate({"registry": {"../own": entry}})


def test_find_entry__unknown_name_and_wrong_kind_list_what_can_be_chosen() -> None:
    with pytest.raises(
        ConfigError, match=r"dedup_encoder: 'dino9' is not in the model registry; use one of .*dinov2-base"
    ):
        find_entry(ModelsConfig(), "dino9", setting="platform.models.dedup_encoder", capabilities=ENCODERS)
    with pytest.raises(ConfigError, match="'lite-yolov3-tiny' is of kind detector"):
        find_entry(ModelsConfig(), "lite-yolov3-tiny", setting="platform.models.dedup_encoder", capabilities=ENCODERS)
    with pytest.raises(ConfigError, match=r"; add an entry of kind verifier to `platform\.models\.registry`$"):
        find_entry(
            ModelsConfig(), "eyes", setting="detection.verifier.model", capabilities=frozenset({Capability.VERIFIER})
        )


def test_importing_models__loads_no_framework() -> None:
    code = (
        "import importlib, pkgutil, sys, data_miner_dagster.models as m\n"
        "for module in pkgutil.walk_packages(m.__path__, m.__name__ + '.'): importlib.import_module(module.name)\n"
        "print([name for name in ('torch', 'transformers', 'ultralytics') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_entries_of__says_the_licence_of_ultralytics_software() -> None:
    own = {"architecture": "ultralytics", "source": "ultralytics:/weights/yolo.onnx"}
    config = ModelsConfig.model_validate({"registry": {"mine": own, "bought": {**own, "licence": "Enterprise"}}})
    entries = entries_of(config)
    assert entries["mine"].licence == "AGPL-3.0, or bought from Ultralytics"
    assert entries["bought"].licence == "Enterprise"
