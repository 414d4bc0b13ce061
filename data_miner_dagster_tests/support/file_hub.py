"""A model hub on loopback that serves small files, from which the hub's own client fetches."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

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
    """A model hub that serves `FILES` for every model, except those named in `refused`."""

    refused: tuple[str, ...] = ()
    only_of: str = ""  # the model that `refused` applies to; empty for all models
    ended: threading.Event
    stalled: threading.Event | None = None  # set when a refused file is requested, which then never arrives
    sent: tuple[str, ...] = ()

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._answer(has_body=False)

    def do_GET(self) -> None:
        """Send a file, or the list of files."""
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
        is_refused = name in type(self).refused and type(self).only_of in self.path
        stalled = type(self).stalled
        if is_refused and stalled is not None:
            stalled.set()
            type(self).ended.wait()
        if is_refused or name not in FILES:
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
        """Log nothing."""


@contextmanager
def serving_files() -> Iterator[tuple[type[FileHub], str]]:
    """Yield a new hub, and its address on loopback."""

    class Served(FileHub):
        ended = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Served, f"http://127.0.0.1:{server.server_port}"
        finally:
            Served.ended.set()
            server.shutdown()
            thread.join()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Make the hub's client, which reads its settings when it is imported, use the hub at `address` and `cache`."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    # The client stores another of the hub's answers in the home folder.
    monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(cache / "harnesses"), raising=False)
