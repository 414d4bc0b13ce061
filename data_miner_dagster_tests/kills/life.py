"""One life of a platform: a project, from its file to its release, with strikes at random moments set by a seed."""

import ctypes.util
import os
import random
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.platform import KilledPlatform, runs_by_status, settled_counts
from data_miner_dagster_tests.kills.postgres import OwnPostgres
from data_miner_dagster_tests.kills.server import CountingServer
from data_miner_dagster_tests.kills.strikes import KINDS, small_file_system

_ROOT_MEGABYTES: Final = 64
_FAKE_TIME_LIBRARIES: Final = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",)


@dataclass(frozen=True, slots=True)
class Life:
    """The result of one life of a platform. `faults` has one line for each problem, and is empty if there was none."""

    seed: int
    database: str
    strikes: tuple[str, ...]
    seconds: float
    runs: dict[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def kinds_here(database: str) -> list[str]:
    """Return the kinds of strikes that are possible on this machine and this database."""
    may_mount = os.geteuid() == 0
    return [
        name
        for name, kind in KINDS.items()
        if database in kind.on and (may_mount or not kind.needs_root) and (name != "clock" or fake_time_library())
    ]


def fake_time_library() -> str | None:
    """Return the library that changes a process's clock, or None if it is not installed."""
    return next((path for path in _FAKE_TIME_LIBRARIES if Path(path).exists()), ctypes.util.find_library("faketimeMT"))


def live(
    folder: Path,
    server: CountingServer,
    names: list[str],
    *,
    database: str,
    seed: int,
    num_strikes: int,
    expected: dict[str, str],
    kinds: list[str] | None = None,
    limit_seconds: float = 600,
) -> Life:
    """Run a project through `num_strikes` strikes, and return the result."""
    rng = random.Random(seed)
    chosen = [rng.choice(kinds or kinds_here(database)) for _ in range(num_strikes)]
    moments = sorted(rng.randint(0, int(len(names) * 1.9)) for _ in chosen)
    folder.mkdir(parents=True)
    del server.gets[:]
    started = time.monotonic()
    with ExitStack() as stack:
        if "disk" in chosen:
            stack.enter_context(small_file_system(folder / "root", _ROOT_MEGABYTES))
        postgres = OwnPostgres() if database == "postgresql" else None
        if postgres is not None:
            stack.callback(postgres.close)
        platform = KilledPlatform(folder, server, names, postgres, _clock(folder) if "clock" in chosen else {})
        platform.prepare()
        stack.callback(platform.stop)
        platform.start()
        faults: list[str] = []
        try:
            for name, moment in zip(chosen, moments, strict=True):
                _wait_for_progress(platform, moment, limit_seconds)
                time.sleep(rng.uniform(0, 2))
                KINDS[name].strike(platform, rng)
            wait_for("the release", platform.is_complete, timeout=limit_seconds)
        except AssertionError as error:
            faults.append(f"{error}; {_state(platform)}")
        faults += faults_at_the_end(platform, chosen, expected) if not faults else []
        try:
            runs = runs_by_status(platform)
        except OSError:
            runs = {}
        return Life(seed, database, tuple(chosen), round(time.monotonic() - started, 1), runs, tuple(faults))


def _wait_for_progress(platform: KilledPlatform, num_done: int, limit_seconds: float) -> None:
    def look() -> bool | None:
        return True if platform.num_done() >= num_done or platform.is_complete() else None

    wait_for(f"{num_done} downloads and extractions", look, timeout=limit_seconds, every=0.2)


def faults_at_the_end(platform: KilledPlatform, strikes: list[str], expected: dict[str, str]) -> list[str]:
    """Return one line for each leftover, difference or unnecessary cost that a completed project must not have."""
    faults = []

    def is_idle() -> bool | None:
        try:
            return None if any(settled_counts(platform).values()) else True
        except OSError:  # the web server may still be starting
            return None

    try:
        wait_for("everything to be given back", is_idle, timeout=120)
    except AssertionError:
        faults.append(f"left behind: { {what: count for what, count in settled_counts(platform).items() if count} }")
    if again := platform.downloaded_again():
        faults.append(f"downloaded again though finished: {', '.join(again)}")
    found = platform.result()
    differing = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    if differing:
        faults.append(f"{len(differing)} files differ from the undisturbed ones: {', '.join(differing[:5])}")
    allowed = [KINDS[name].num_failures for name in strikes]
    num_failed = sum(count for what, count in runs_by_status(platform).items() if what.endswith("FAILURE"))
    if None not in allowed and num_failed > sum(filter(None, allowed)):
        faults.append(f"{num_failed} runs failed by {', '.join(strikes)}")
    given_up = platform.rows("SELECT key, error FROM videos WHERE error IS NOT NULL")
    faults += [f"{key}: {error}" for key, error in given_up]
    return faults


def _state(platform: KilledPlatform) -> str:
    try:
        videos = platform.rows("SELECT status, error_kind, count(*) FROM videos GROUP BY status, error_kind")
        projects = platform.rows("SELECT stage, error FROM projects")
        return f"videos {videos}, project {projects}, runs {runs_by_status(platform)}"
    except Exception as error:  # noqa: BLE001 - whatever does not answer is part of the state
        return f"no answer: {error}; log: {platform.log.read_text()[-1500:]}"


def _clock(folder: Path) -> dict[str, str]:
    """Return environment variables that make processes read their clock's offset from a file."""
    clock = folder / "clock"
    clock.write_text("+0")
    return {
        "LD_PRELOAD": str(fake_time_library()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def discard(folder: Path) -> None:
    """Remove the files of a life."""
    shutil.rmtree(folder, ignore_errors=True)
