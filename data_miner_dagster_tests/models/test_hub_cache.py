"""Models of a hub on loopback, whose downloads end before everything is there."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.hub import fetch_from_hub, pretrained_location
from data_miner_dagster.models.hub_cache import is_cached, is_partly_cached
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster_tests.models.test_hub import use_hub

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
FILES = {
    "config.json": b"{}",
    INDEX: json.dumps({"weight_map": {"one": SHARDS[0], "two": SHARDS[1]}}).encode(),
    SHARDS[0]: b"first",
    SHARDS[1]: b"second",
    "preprocessor_config.json": b'{"size": 1}',
    "tokenizer.json": b'{"words": []}',
    "pytorch_model.bin": b"another form, which is not fetched",
}


class FileHub(BaseHTTPRequestHandler):
    """A model hub that serves `FILES`, except the names in `refused`."""

    refused: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        """Tell of a file."""
        self._answer(has_body=False)

    def do_GET(self) -> None:
        """Send a file, or the list of them."""
        if "/tree/" in self.path:
            listed = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in FILES.items()
            ]
            self._send(json.dumps(listed).encode(), {"Content-Type": "application/json"}, has_body=True)
            return
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        _, _, name = self.path.partition("/resolve/")[2].partition("/")
        if name in type(self).refused or name not in FILES:
            self.send_response(403 if name in FILES else 404)
            self.end_headers()
            return
        if has_body:
            type(self).sent += (name,)
        commit = self.path.partition("/resolve/")[2].partition("/")[0]
        tag = hashlib.sha1(FILES[name]).hexdigest()
        self._send(FILES[name], {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}, has_body=has_body)

    def _send(self, content: bytes, headers: dict[str, str], *, has_body: bool) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FileHub]]:
    """A hub on loopback, and an empty cache."""

    class Served(FileHub):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
        yield Served
        server.shutdown()
        thread.join()


@pytest.fixture
def entry() -> ModelEntry:
    """A detector of the hub."""
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
    """Other programs fetch file by file, so that the cache has no list of what belongs to the model."""
    assert not is_cached(entry)
    assert not is_partly_cached(entry)
    fetch_from_hub(entry, print)
    assert "pytorch_model.bin" not in hub.sent
    other = tmp_path / "other"  # the hub's client remembers the list of a cache that it has read
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
