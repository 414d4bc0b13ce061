"""Find and kill processes by a mark in their environment, which their child processes inherit.

Executed as a program, this module kills all processes with a mark as soon as its standard input ends, which happens
when the process that started it closes the pipe or ends in any way.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def marked(mark: str) -> list[int]:
    """Return the ids of living processes with this mark (`NAME=value`), except any that is just starting a program."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = mark.encode() in (folder / "environ").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if is_marked and state != "Z":
            found.append(int(folder.name))
    return found


def kill_marked(mark: str) -> None:
    """Send SIGKILL to the processes with a mark until two successive searches find none."""
    looks_without = 0
    while looks_without < 2:
        found = marked(mark)
        looks_without = 0 if found else looks_without + 1
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def start_reaper(mark: str) -> subprocess.Popen[bytes]:
    """Start a process that kills all processes with a mark once its standard input is closed, despite Ctrl-C."""
    return subprocess.Popen([sys.executable, "-S", "-E", __file__, mark], stdin=subprocess.PIPE, process_group=0)


if __name__ == "__main__":
    sys.stdin.read()
    kill_marked(sys.argv[1])
