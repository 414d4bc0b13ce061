"""A slow site on the loopback interface that records when each file was requested and can be cut off."""

import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

REFERENCE_AGENT: Final = "reference"
"""The user agent of the undisturbed project, which may run at the same time."""


class CountingServer:
    """Serves a folder. `gets` has the path and time.time() of every GET except those of the undisturbed project.

    While `is_cut` is True, the server closes every connection.
    """

    def __init__(self, folder: Path, *, seconds_a_file: float = 0.0) -> None:
        self.gets: list[tuple[str, float]] = []
        self.is_cut = False
        site = self

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                if site.is_cut:
                    self.close_connection = True
                    return
                if self.headers["User-Agent"] != REFERENCE_AGENT:
                    site.gets.append((self.path, time.time()))
                time.sleep(seconds_a_file)
                super().do_GET()

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
