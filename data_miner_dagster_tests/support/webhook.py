"""A webhook on loopback, which keeps the messages that it receives."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """An HTTP server that answers with `status`, and keeps the messages it receives if that is 200."""

    status: int = 200
    told: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0


@contextmanager
def serving_webhook() -> Iterator[Webhook]:
    """Yield a webhook that listens on a port of 127.0.0.1."""
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if hook.status == 200:
                hook.told.append(body)
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield hook
        server.shutdown()
        thread.join()
