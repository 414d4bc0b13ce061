"""Run beside `data-miner up`: ends all that it started, and all that those started, once it is gone itself.

A program of its own that nothing kills along with `up`, with the standard library alone. It reads process groups from
its standard input, one a line, whose other end only `up` has open. When that closes, on whatever way, the groups are
killed. A lock that it has inherited is held until then, so that nobody begins anew before.
"""

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_PRUNE_SECONDS = 30.0
_WAIT_SECONDS = 5.0


def main() -> None:
    """Wait for the end of the standard input, then end the groups."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when `up` has ended, and not before
    groups: set[int] = set()
    while True:
        groups = {group for group in groups if is_there(group)}  # a number that is free again may become another's
        if not select.select([0], [], [], _PRUNE_SECONDS)[0]:
            continue
        if not (read := os.read(0, 4096)):
            break
        groups.update(int(line) for line in read.split())
    end_groups(groups)


def end_groups(groups: Iterable[int]) -> None:
    """Kill process groups and wait until they are gone, a few seconds at the most."""
    left = set(groups)
    deadline = time.monotonic() + _WAIT_SECONDS
    while left and time.monotonic() < deadline:
        for group in left:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.02)
        left = {group for group in left if is_there(group)} & _groups_alive(left)


def is_there(group: int) -> bool:
    """Return whether a process group has a process, if only a dead one that nobody has asked after."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _groups_alive(groups: set[int]) -> set[int]:
    """Return those that have a living process; where that is not to be seen, all.

    Orphans of a container without an init process stay in the table of processes when they are dead.
    """
    if not Path("/proc/self/stat").exists():
        return groups
    found: set[int] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]  # proc(5)
            if state not in ("Z", "X"):
                found.add(int(group))
    return groups & found


if __name__ == "__main__":
    main()
