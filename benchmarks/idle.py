"""Measure the cost of an idle platform, beside stock Dagster without definitions.

    python -m benchmarks.idle [--minutes 5] [--videos 20] [--json]

`data-miner up` runs on a root whose project is complete. At the same time, Dagster's web server and daemon run with
definitions whose only sensor always skips. The dagster.yaml and the interval of the sensors are the same.

- `idle_core_percent`, `stock_core_percent`: CPU time of all processes of each, in hundredths of a core.
- `idle_points_above_stock`: their difference.
- `idle_mb_per_day`: the growth of DAGSTER_HOME, extrapolated from the measured minutes. Free pages of databases do not
  count, nor does housekeeping, which removes ticks after six hours.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.deployment import deployment_file
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster_tests.end_to_end.commands import environment
from data_miner_dagster_tests.end_to_end.platform_process import free_port, wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.platform import KilledPlatform
from data_miner_dagster_tests.kills.processes import processes_of
from data_miner_dagster_tests.kills.server import CountingServer

_SETTLING_SECONDS: Final = 90.0
_STOCK: Final = """\
import dagster as dg


@dg.sensor(minimum_interval_seconds=4, default_status=dg.DefaultSensorStatus.RUNNING)
def idle(context):
    return dg.SkipReason("nothing to do")


defs = dg.Definitions(sensors=[idle])
"""

Figures = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The resources that one installation had used by one moment."""

    cpu_seconds: float
    stored_bytes: int


def _reading(home: Path) -> _Reading:
    return _Reading(sum(process.cpu_seconds for process in processes_of(home)), _stored_bytes(home))


def _stored_bytes(folder: Path) -> int:
    """Return the size in bytes of all files, but only of the used pages of databases.

    Logs of databases are left out, because their sizes vary by megabytes.
    """
    total = 0
    for path in folder.rglob("*"):
        if path.suffix == ".db":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                pages, free, size = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
            total += (pages - free) * size
        elif path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal")):
            total += path.stat().st_size
    return total


@contextmanager
def _stock_dagster(folder: Path) -> Iterator[Path]:
    """Run stock Dagster while the block runs; yield its DAGSTER_HOME."""
    home = folder / "stock"
    home.mkdir(parents=True)
    shutil.copyfile(deployment_file("dagster.yaml"), home / "dagster.yaml")
    definitions = folder / "stock.py"
    definitions.write_text(_STOCK)
    port = str(free_port())
    commands = (
        ["dagster_webserver", "-f", str(definitions), "-h", "127.0.0.1", "-p", port],
        ["dagster._daemon", "run", "-f", str(definitions)],
    )
    with (home / "stock.log").open("w") as log:
        env = environment(DAGSTER_HOME=str(home))
        for command in commands:
            subprocess.Popen([sys.executable, "-m", *command], env=env, cwd=home, stdout=log, stderr=subprocess.STDOUT)
            time.sleep(5)  # one at a time, since both would create the same databases
        try:
            yield home
        finally:
            for process in processes_of(home):
                process.kill()


@contextmanager
def _complete_platform(folder: Path, num_videos: int) -> Iterator[Path]:
    """Take a small project to its release by `up`, which runs until the block ends; yield its DAGSTER_HOME."""
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    server = CountingServer(folder / "clips")
    platform = KilledPlatform(folder / "up", server, write_clips(folder / "clips", samples, num_videos))
    platform.prepare()
    platform.start()
    try:
        wait_for("the release", platform.is_complete, timeout=1800)
        yield platform.home
    finally:
        platform.stop()
        server.close()


def measure(folder: Path, minutes: float, num_videos: int) -> Figures:
    """Let both installations idle side by side, and return the figures."""
    with _complete_platform(folder, num_videos) as ours, _stock_dagster(folder) as stock:
        time.sleep(_SETTLING_SECONDS)
        before = {home: _reading(home) for home in (ours, stock)}
        began = time.monotonic()
        time.sleep(minutes * 60)
        after = {home: _reading(home) for home in (ours, stock)}
        seconds = time.monotonic() - began
        load = os.getloadavg()[0]
    percent = {home: 100 * (after[home].cpu_seconds - before[home].cpu_seconds) / seconds for home in before}
    growth = {home: (after[home].stored_bytes - before[home].stored_bytes) / seconds * 86_400 / 1e6 for home in before}
    return {
        "idle_seconds_measured": round(seconds),
        "idle_load_at_end": round(load, 2),
        "idle_core_percent": round(percent[ours], 2),
        "stock_core_percent": round(percent[stock], 2),
        "idle_points_above_stock": round(percent[ours] - percent[stock], 2),
        "idle_mb_per_day": round(growth[ours], 1),
        "stock_mb_per_day": round(growth[stock], 1),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="the time for which both are idle")
    parser.add_argument("--videos", type=int, default=20, help="the number of videos of the complete project")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    with tempfile.TemporaryDirectory(prefix="idle_") as name:
        figures = measure(Path(name), options.minutes, options.videos)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"{key:<30} {value}")


if __name__ == "__main__":
    main()
