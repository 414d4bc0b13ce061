"""A program that kills every process that `data-miner up` started, directly or indirectly, once `up` has ended.

It is separate so that nothing kills it together with `up`, and it uses only the standard library. It reads process
group ids, one per line, from a pipe on its standard input. Only `up` keeps the other end of the pipe open. When that
end closes for any reason, the program kills the groups. Until then, the program holds an inherited lock, so that no new
`up` starts too early.
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
    """Wait for the end of standard input, then kill the process groups."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # this program must not end before `up` does
    groups: set[int] = set()
    while True:
        groups = {group for group in groups if is_there(group)}  # the system may reuse the number of an ended group
        if not select.select([0], [], [], _PRUNE_SECONDS)[0]:
            continue
        if not (read := os.read(0, 4096)):
            break
        groups.update(int(line) for line in read.split())
    end_groups(groups)


def end_groups(groups: Iterable[int]) -> None:
    """Kill process groups, and wait up to 5 s for them to end."""
    left = set(groups)
    deadline = time.monotonic() + _WAIT_SECONDS
    while left and time.monotonic() < deadline:
        for group in left:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.02)
        left = {group for group in left if is_there(group)} & _groups_alive(left)


def is_there(group: int) -> bool:
    """Return whether a process group has any process that this program may signal, including zombies."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _groups_alive(groups: set[int]) -> set[int]:
    """Return the groups that have a live process, or all groups if the system has no /proc.

    Zombies do not count: without an init process in a container, dead orphans stay in the process table.
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
