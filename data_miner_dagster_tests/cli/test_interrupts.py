"""Ctrl-C on a real process during each kind of work, after which the next run continues."""

import functools
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest

from data_miner_dagster_tests.end_to_end.commands import command, environment
from data_miner_dagster_tests.support.small_videos import make_video

pytestmark = pytest.mark.slow(15)

MOST_SECONDS = 120.0  # an upper limit for ending while the server stalls; a tenth of a second is usual
STALLED = threading.Event()


class StallingHandler(SimpleHTTPRequestHandler):
    """Serve files, but send only their first bytes while STALLED is set."""

    def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:  # type: ignore[override]
        """Send the first 100 bytes, wait while STALLED is set, then send the rest."""
        outputfile.write(source.read(100))
        outputfile.flush()
        while STALLED.is_set():
            time.sleep(0.05)
        outputfile.write(source.read())

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a server with two clips."""
    for index in range(2):
        make_video(tmp_path / f"{index}.mp4", pattern=index, size_wh=(160, 96), num_frames=50)
    handler = functools.partial(StallingHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        STALLED.clear()
        server.shutdown()


def interrupted_at(line: str, config: Path, root: Path) -> tuple[int, str, float]:
    """Interrupt `run` when an output line begins with `line`; return its status, last line, and seconds to the end."""
    with subprocess.Popen(
        command("run", "--config", config, "--root", root, "--profile", "lite"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # tests in the background of a shell ignore SIGINT, which this process would inherit
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        text = ""
        for text in process.stdout:
            if text.strip().startswith(line):
                break
        time.sleep(0.3)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout.read().splitlines()
        status = process.wait(timeout=300)
        return status, last, time.monotonic() - sent


def test_run__interrupted_in_each_kind_of_work(address: str, tmp_path: Path) -> None:
    config = {
        "name": "clips",
        "sourcing": {"sources": [{"type": "urls", "urls": [f"{address}/{index}.mp4" for index in range(2)]}]},
        "filtering": {"positive": ["a picture"], "positive_threshold": -1},
        "detection": {"classes": {"person": []}},
        "platform": {"downloading": {"allowed_private_hosts": ["127.0.0.1"]}},
    }
    file = tmp_path / "clips.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    STALLED.set()
    seen = []
    for line in ("downloading:", "extraction:", "embedding:"):
        status, last, seconds = interrupted_at(line, file, tmp_path / "root")
        seen.append((status, last, seconds < MOST_SECONDS))
        STALLED.clear()
    assert seen == [(130, "interrupted; run again to continue", True)] * 3
