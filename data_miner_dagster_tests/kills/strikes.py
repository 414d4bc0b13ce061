"""Strikes against a running platform. Each strike restores everything that it took away."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.platform import KilledPlatform

Strike = Callable[[KilledPlatform, random.Random], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of strike. `num_failures` is how many runs may fail, or None for no limit, since runs probe the outage."""

    strike: Strike
    num_failures: int | None = 1
    needs_root: bool = False  # it mounts a file system
    on: tuple[str, ...] = ("sqlite", "postgresql")


def _kill_one(*kinds: str) -> Strike:
    def strike(platform: KilledPlatform, rng: random.Random) -> None:
        found = wait_for(f"a process of {kinds}", lambda: platform.processes(*kinds) or None, timeout=300, every=0.1)
        rng.choice(sorted(found, key=lambda process: process.pid)).kill()

    return strike


def kill_up(platform: KilledPlatform, rng: random.Random) -> None:
    """Kill `up`, and restart it as a supervisor would."""
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    time.sleep(rng.uniform(0, 3))
    platform.start_again()


def cut_power(platform: KilledPlatform, rng: random.Random) -> None:
    """Kill everything at once, including the database."""
    if platform.postgres is not None:
        platform.postgres.kill()
    platform.kill_all()
    time.sleep(rng.uniform(0, 2))
    if platform.postgres is not None:
        platform.postgres.start()
    platform.start_again()


def stop_postgres(platform: KilledPlatform, rng: random.Random) -> None:
    """Crash the database server and restart it after a while."""
    assert platform.postgres is not None
    platform.postgres.kill()
    time.sleep(rng.uniform(1, 15))
    platform.postgres.start()
    _stand_up(platform)


def fill_disk(platform: KilledPlatform, rng: random.Random) -> None:
    """Fill the root's file system, which must be small, and free the space after a while."""
    filler = platform.root / "filler"
    with filler.open("wb", buffering=0) as output:
        try:
            while output.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
    time.sleep(rng.uniform(5, 20))
    filler.unlink()
    _stand_up(platform)


def make_read_only(platform: KilledPlatform, rng: random.Random) -> None:
    """Make videos, frames, embeddings and projects read-only for a while. The catalog stays writable."""
    rooms = [platform.root / name for name in ("videos", "frames", "embeddings", "projects")]
    mounted = []
    try:
        for room in rooms:
            room.mkdir(exist_ok=True)
            _run("mount", "--bind", room, room)
            mounted.append(room)
            _run_when_free("mount", "-o", "remount,bind,ro", room)
        time.sleep(rng.uniform(5, 20))
    finally:
        for room in mounted:
            _run("umount", "-l", room)


def cut_site(platform: KilledPlatform, rng: random.Random) -> None:
    """Close every connection to the site for a while."""
    platform.server.is_cut = True
    time.sleep(rng.uniform(3, 15))
    platform.server.is_cut = False


def delete_write_ahead_log(platform: KilledPlatform, _rng: random.Random) -> None:
    """Delete the files next to SQLite's catalog, as a careless cleanup does."""
    for path in platform.root.glob("catalog.sqlite-*"):
        path.unlink()


def jump_clock(platform: KilledPlatform, rng: random.Random) -> None:
    """Set the clock of all processes up to three hours forward or back, permanently."""
    clock = Path(platform.extra_environment["FAKETIME_TIMESTAMP_FILE"])
    clock.write_text(f"{rng.randint(-10_800, 10_800):+d}")


KINDS: Final[Mapping[str, Kind]] = {
    "run": Kind(_kill_one("run")),
    "code": Kind(_kill_one("code"), num_failures=4),  # the runs that it started end with it
    "daemon": Kind(_kill_one("daemon"), num_failures=4),
    "webserver": Kind(_kill_one("webserver"), num_failures=0),
    "up": Kind(kill_up, num_failures=4),
    "power": Kind(cut_power, num_failures=4),
    "postgres": Kind(stop_postgres, num_failures=None, on=("postgresql",)),
    "disk": Kind(fill_disk, num_failures=None, needs_root=True),
    "readonly": Kind(make_read_only, num_failures=None, needs_root=True),
    "cut": Kind(cut_site, num_failures=0),
    "wal": Kind(delete_write_ahead_log, num_failures=None, on=("sqlite",)),
    "clock": Kind(jump_clock, num_failures=0),
}
"""The kinds by name. At most four runs are active at a time, and each run that a kill ends fails once."""


def _stand_up(platform: KilledPlatform) -> None:
    """Restart `up` as a supervisor would if the outage has ended it."""
    assert platform.process is not None
    if platform.process.poll() is not None:
        platform.start_again()


def _run(*arguments: str | Path) -> None:
    subprocess.run([str(argument) for argument in arguments], check=True, capture_output=True)


def _run_when_free(*arguments: str | Path) -> None:
    """Run a command, and retry it while the kernel refuses it because a file is being written."""
    until = time.monotonic() + 10
    while True:
        try:
            return _run(*arguments)
        except subprocess.CalledProcessError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


@contextmanager
def small_file_system(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount an empty file system of a given size at a folder."""
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder)
    try:
        yield
    finally:
        _run("umount", "-l", folder)
