"""Identify processes and detect dead ones, so that a SIGKILL is noticed before the lease expires."""

import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The identity of a process. `started` distinguishes it from earlier and later processes with the same pid."""

    host: str
    pid: int
    started: str

    def is_gone(self) -> bool:
        """Return whether the process has certainly ended. This is False for a process on another host."""
        return self.host == _host() and _process_started(self.pid) != self.started

    def is_alive(self) -> bool:
        """Return whether the process certainly exists. This is False for a process on another host."""
        return self.host == _host() and _process_started(self.pid) == self.started

    def __str__(self) -> str:
        return f"{self.pid}@{self.started}@{self.host}"

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity":
        """Parse an identity from the string that `str` returned for it.

        Raises:
            ValueError: the string does not have this format.
        """
        pid, started, host = text.split("@", 2)
        return cls(host, int(pid), started)


def this_process() -> ProcessIdentity:
    """Return the identity of the calling process."""
    return ProcessIdentity(_host(), os.getpid(), _process_started(os.getpid()) or "")


def _process_started(pid: int) -> str | None:
    """Return a stamp of the process with this pid, or None if no such process is running.

    On Linux, the stamp differs between processes that have the same pid at different times. On other systems, it is the
    same for all processes.

    Source: proc(5), field 22 of /proc/<pid>/stat, start time in clock ticks since boot.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


@lru_cache(maxsize=1)
def _host() -> str:
    # The boot id distinguishes two containers, and a machine before and after a restart.
    boot = Path("/proc/sys/kernel/random/boot_id")
    pid_namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists():
        parts.append(boot.read_text().strip())
    if pid_namespace.exists():
        parts.append(str(pid_namespace.readlink()))
    return "|".join(parts)[:255]
