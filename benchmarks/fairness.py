"""Run a small project beside a huge one: `python -m benchmarks.fairness [--small 100] [--large 100000]`.

`data-miner up` takes the small project from its file to its release twice: alone, and in a root whose daemon is busy
with a project of 100,000 videos that were never downloaded. The program prints the seconds of both and their ratio.
"""

import argparse
import json
import struct
import tempfile
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from sqlalchemy import bindparam, text

from data_miner_dagster.catalog.pending import refresh_bases
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import UtcDateTime, utc_now
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.operations.bases import bases_in_force
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster_tests.end_to_end.commands import project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard
from data_miner_dagster_tests.kills.platform import NAME, KilledPlatform
from data_miner_dagster_tests.kills.server import CountingServer

_LARGE: Final = "large"
_LONGEST_SECONDS: Final = 3600.0
_BUSY_SECONDS: Final = 60.0
_NUMBERS: Final = "WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :number) "
_VIDEOS: Final = (
    "INSERT INTO videos (key, url, origin, status, attempts, created_at, updated_at) "
    f"{_NUMBERS} SELECT 'generic-' || (1000000 + i), :address || '/' || i || '.mp4', 'own', 'PENDING', 0, :now, "
    ":now FROM numbers"
)
_MEMBERS: Final = (
    "INSERT INTO project_videos (project_name, video_key, source, query, rank, found_at, status) "
    f"{_NUMBERS} SELECT :name, 'generic-' || (1000000 + i), 'urls', '', i, :now, 'PENDING' FROM numbers"
)


def plant_large(root: Path, config: Path, file: Path, address: str, number: int) -> None:
    """Add a project whose sources have been listed, with this many videos to download from a site."""
    platform = open_platform(root, config, "lite")
    register_project_file(platform, file)
    values = {"address": address, "now": utc_now(), "number": number, "name": _LARGE}
    with platform.database.transaction() as session:
        for statement in (_VIDEOS, _MEMBERS):
            session.execute(text(statement).bindparams(bindparam("now", type_=UtcDateTime())), values)
    row = find_project(platform.database, _LARGE)
    assert row is not None
    update_project(platform.database, _LARGE, sourced_config_hash=row.config_hash, sourced_at=utc_now())
    refresh_bases(platform.database, dict(bases_in_force(platform)))
    platform.database.dispose()


class _EndlessSite:
    """A site that serves a clip as `/<number>.mp4` for any number, with the number in a box that players skip."""

    def __init__(self, clips: list[Path]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, *, with_body: bool) -> None:
                number = int(Path(self.path).stem)
                box = struct.pack(">I4sQ", 16, b"free", number)  # ISO 14496-12, 8.1.2
                body = clips[number % len(clips)].read_bytes() + box
                self.send_response(200)
                self.send_header("Content-Type", "video/mp4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def small_project_seconds(
    folder: Path, server: CountingServer, names: list[str], beside: tuple[str, int] | None
) -> dict[str, float]:
    """Return the seconds that the small project takes, and the other downloads and extractions in that time.

    `beside` is the site's address and the number of videos of the large project, or None to leave it out.
    """
    folder.mkdir()
    platform = KilledPlatform(folder, server, names)
    platform.prepare(is_waiting=True)
    if beside is not None:
        address, number = beside
        content = project(_LARGE, [{"type": "urls", "urls": [f"{address}/0.mp4"]}])
        del content["platform"]
        file = write_yaml(platform.root / "project_files" / f"{_LARGE}.yaml", content)
        plant_large(platform.root, folder / "platform.yaml", file, address, number)
    platform.start()
    try:
        wait_for("the web server", platform.answers, timeout=180, every=0.5)
        if beside is not None:
            wait_for("the large one to be at work", lambda: platform.num_done() >= 10 or None, timeout=300, every=0.5)
            time.sleep(_BUSY_SECONDS)
        before, started = platform.num_done(), time.monotonic()
        platform.drop_project()
        released = partial(_is_released, platform)
        wait_for("the small release", released, timeout=_LONGEST_SECONDS, every=0.5)
        seconds = time.monotonic() - started
        return {"seconds": round(seconds, 1), "others_done_meanwhile": platform.num_done() - before - 2 * len(names)}
    finally:
        platform.stop()


def _is_released(platform: KilledPlatform) -> bool | None:
    stages = dict(platform.rows("SELECT name, stage FROM projects"))
    return True if stages.get(NAME) == "COMPLETE" and platform.releases() else None


def main() -> None:
    """Measure both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=100)
    parser.add_argument("--large", type=int, default=100_000)
    options = parser.parse_args()
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="fairness_"))
    names = write_clips(folder / "clips", samples, options.small)
    server = CountingServer(folder / "clips")
    site = _EndlessSite([folder / "clips" / name for name in names])
    alone = small_project_seconds(folder / "alone", server, names, None)
    beside = small_project_seconds(folder / "beside", server, names, (site.address, options.large))
    ratio = round(beside["seconds"] / alone["seconds"], 2)
    print(json.dumps({"alone": alone, "beside": beside, "ratio": ratio}, indent=1))
    site.close()
    server.close()
    discard(folder)


if __name__ == "__main__":
    main()
