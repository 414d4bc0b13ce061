"""The processes of a platform in any session, told apart by their command lines."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_KINDS = (
    ("webserver", ("dagster_webserver",)),
    ("daemon", ("dagster._daemon",)),
    ("code", ("api grpc", "code-server")),
    ("run", ("execute_run", "spawn_main")),
)


@dataclass(frozen=True, slots=True)
class Process:
    """A running process. `kind` is webserver, daemon, code, run or other. `cpu_seconds` includes ended children."""

    pid: int
    parent: int
    command: str
    kind: str
    cpu_seconds: float

    def kill(self) -> None:
        """Send SIGKILL, unless the process has already ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def processes_of(dagster_home: Path) -> list[Process]:
    """Return the running processes with this DAGSTER_HOME, without the workers of runs."""
    wanted = f"DAGSTER_HOME={dagster_home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if wanted in variables and command and fields[0] != "Z":
            ticks = sum(map(int, fields[11:15]))  # proc(5): utime, stime, cutime, cstime
            cpu_seconds = ticks / os.sysconf("SC_CLK_TCK")
            found.append(Process(int(folder.name), int(fields[1]), command, _kind_of(command), cpu_seconds))
    return found


def _kind_of(command: str) -> str:
    return next((kind for kind, parts in _KINDS if any(part in command for part in parts)), "other")
