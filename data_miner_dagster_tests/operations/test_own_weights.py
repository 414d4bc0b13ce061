"""A user's own weights in a bucket: fetched once, resumed, verified, and refused if they can run code."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.hub import pretrained_location
from data_miner_dagster.models.registry import entries_of
from data_miner_dagster.operations import progress
from data_miner_dagster.operations.own_weights import fetch_own_weights
from data_miner_dagster_tests.support.buckets import BUCKET, Fault, FaultyBuckets

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 1000}


def _config(buckets: FaultyBuckets, **entry: Any) -> PlatformConfig:
    pins = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    own = {"architecture": "dinov2", "source": f"s3://{BUCKET}/models/own", "files": pins, **entry}
    models = {"registry": {"own": own}}
    return PlatformConfig.model_validate({"models": models, "objects": buckets.settings(tries=2)})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "cache"))


def test_fetch_own_weights__resumed_verified_and_pinned(buckets: FaultyBuckets, tmp_path: Path) -> None:
    for name, content in FILES.items():
        buckets.put(f"models/own/{name}", content)
    config = _config(buckets)
    entry = entries_of(config.models)["own"]
    with pytest.raises(ModelError, match="models fetch --own"):
        pretrained_location(entry)
    buckets.faults.append(Fault("503", "GET", "model.safetensors", num_times=2))
    with pytest.raises(ModelError, match=r"could not be fetched: .*SlowDown"):
        fetch_own_weights(config, print)
    buckets.requests.clear()
    assert fetch_own_weights(config, print) == {"own": entry.folder}
    assert buckets.num_requests("GET", "config.json") == 0
    assert {path.name: path.read_bytes() for path in entry.folder.iterdir()} == FILES
    assert pretrained_location(entry) == (str(entry.folder), None)
    buckets.requests.clear()
    fetch_own_weights(config, print)
    assert buckets.requests == []
    (tmp_path / "same").mkdir()
    for name, content in FILES.items():
        (tmp_path / "same" / name).write_bytes(content)
    local = _config(buckets, source=f"file:{tmp_path / 'same'}", files={})
    assert entries_of(local.models)["own"].fingerprint == entry.fingerprint
    (entry.folder / "config.json").write_bytes(b"{1}")
    with pytest.raises(ModelError, match="does not contain exactly the pinned files"):
        pretrained_location(entry)


def test_fetch_own_weights__says_how_far_it_is(
    buckets: FaultyBuckets, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content in FILES.items():
        buckets.put(f"models/own/{name}", content)
    monkeypatch.setattr(progress, "_FIRST_LINE_SECONDS", 0.0)
    lines: list[str] = []
    with caplog.at_level(logging.INFO, logger=progress.logger.name):
        fetch_own_weights(_config(buckets), lines.append)
    assert lines == [f"fetching s3://{BUCKET}/models/own"]
    (told,) = [record.getMessage() for record in caplog.records if record.name == progress.logger.name]
    assert told == "model own: fetched 1 of 2 files: 50 %", "one file gives no pace yet"


def test_fetch_own_weights__of_other_bytes_than_pinned(buckets: FaultyBuckets) -> None:
    buckets.put("models/own/config.json", b"other")
    with pytest.raises(ModelError, match="not the pinned"):
        fetch_own_weights(_config(buckets), print)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "../config.json", "a/config.json", "weights.pkl"])
def test_config__no_file_that_can_run_code(buckets: FaultyBuckets, name: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed; use .* and end it in \.safetensors"):
        _config(buckets, files={name: "0" * 64})


def test_config__pins_are_for_buckets_and_needed_there(buckets: FaultyBuckets) -> None:
    both: tuple[dict[str, object], ...] = ({"files": {}}, {"source": "hf:a/b"})
    for wrong in both:
        with pytest.raises(ValueError, match="a source in a bucket"):
            _config(buckets, **wrong)
