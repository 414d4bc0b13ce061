"""Test models from a hub on loopback whose downloads end before every file has arrived."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.hub import fetch_from_hub, pretrained_location
from data_miner_dagster.models.hub_cache import is_cached, is_partly_cached
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster_tests.support.file_hub import INDEX, SHARDS, FileHub, serving_files, use_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FileHub]]:
    """Yield a hub on loopback, used with an empty cache."""
    with serving_files() as (served, address):
        use_hub(monkeypatch, address, tmp_path)
        yield served


@pytest.fixture
def entry() -> ModelEntry:
    """Return a detector that the hub offers."""
    return ModelProvider(ModelsConfig(profile="standard")).detector.entry


def _snapshot(entry: ModelEntry, cache: Path) -> Path:
    return cache / f"models--{entry.location.replace('/', '--')}" / "snapshots" / str(entry.revision)


@pytest.mark.parametrize("refused", [SHARDS[1], "tokenizer.json"])
def test_is_cached__a_download_that_ended_early_is_continued(
    hub: type[FileHub], entry: ModelEntry, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refused = (refused,)
    with pytest.raises(ModelError, match="could not be loaded"):
        fetch_from_hub(entry, print)
    assert (_snapshot(entry, tmp_path) / "config.json").is_file()
    assert not is_cached(entry)
    assert is_partly_cached(entry)
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError) as raised:
            pretrained_location(entry)
    assert str(raised.value) == (
        f"model {entry.name} ({entry.location}) is only partly in the Hugging Face cache, and HF_HUB_OFFLINE is set; "
        "unset it and run `data-miner models fetch --profile standard` with network access, or use `--profile lite`"
    )
    hub.refused, hub.sent = (), ()
    assert pretrained_location(entry) == (entry.location, entry.revision)
    assert refused in hub.sent
    assert "config.json" not in hub.sent
    assert is_cached(entry)
    assert not is_partly_cached(entry)
    hub.sent = ()
    pretrained_location(entry)
    assert hub.sent == ()


def test_is_cached__without_the_hubs_list_of_files(
    hub: type[FileHub], entry: ModelEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs download file by file, so their caches have no list of the model's files."""
    assert not is_cached(entry)
    assert not is_partly_cached(entry)
    fetch_from_hub(entry, print)
    assert "pytorch_model.bin" not in hub.sent
    other = tmp_path / "other"  # a new folder, since the hub's client remembers the list of a cache that it has read
    shutil.copytree(tmp_path, other, symlinks=True, ignore=shutil.ignore_patterns("other", "trees"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(other))
    snapshot = _snapshot(entry, other)
    assert is_cached(entry)
    unfinished = snapshot.parent.parent / "blobs" / "0123.4567.incomplete"
    unfinished.touch()
    assert not is_cached(entry)
    unfinished.unlink()
    (snapshot / SHARDS[0]).resolve().unlink()
    assert not is_cached(entry)
    (snapshot / "model.safetensors").write_bytes(b"all")
    assert is_cached(entry)
    (snapshot / "model.safetensors").unlink()
    (snapshot / INDEX).unlink()
    (snapshot / INDEX).write_text("{")
    assert not is_cached(entry)
