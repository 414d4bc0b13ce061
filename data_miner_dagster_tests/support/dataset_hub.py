"""A hub on loopback to which the hub's own client commits the files of a dataset."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class DatasetHub(BaseHTTPRequestHandler):
    """A hub with one dataset, which keeps every commit."""

    commits: ClassVar[list[dict[str, bytes]]]
    tags: ClassVar[dict[str, int]]  # position of the tagged commit in `commits`

    def do_GET(self) -> None:
        """List the files of the last commit."""
        if "/tree/" not in self.path:
            self.send_error(404)
            return
        files = type(self).commits[-1] if type(self).commits else {}
        self._send(
            [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
        )

    def do_POST(self) -> None:
        """Create the dataset, check a card, say how to upload files, commit, or tag a commit."""
        length = self.headers["Content-Length"]
        body = self._chunks() if length is None else self.rfile.read(int(length))
        host = f"http://{self.headers['Host']}"
        if self.path.endswith("/repos/create"):
            self._send({"url": f"{host}/datasets/me/cyclists"})
        elif self.path.endswith("/validate-yaml"):
            self._send({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._send({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in self.path:
            oid = self._commit([json.loads(line) for line in body.splitlines()])
            self._send({"commitUrl": f"{host}/datasets/me/cyclists/commit/{oid}", "commitOid": oid})
        else:
            type(self).tags[json.loads(body)["tag"]] = int(self.path.rpartition("/")[2], 16)
            self._send({})

    def _commit(self, lines: list[dict[str, Any]]) -> str:
        files = dict(type(self).commits[-1]) if type(self).commits else {}
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        type(self).commits.append(files)
        return f"{len(type(self).commits) - 1:040x}"

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, content: Any) -> None:
        encoded = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serving_dataset() -> Iterator[tuple[type[DatasetHub], str]]:
    """Yield a new hub, and its address on loopback."""

    class Served(DatasetHub):
        commits: ClassVar[list[dict[str, bytes]]] = []
        tags: ClassVar[dict[str, int]] = {}

    with ThreadingHTTPServer(("127.0.0.1", 0), Served) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Served, f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
