"""The resource limits of one job, and their enforcement in the worker's own process."""

import math
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_STATM: Final = Path("/proc/self/statm")
_cpu_seconds: list[float] = []
"""The CPU limit of the running job in seconds. The list is empty if the job has no limit."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """The resource limits of one job. None means no limit."""

    wall_seconds: float | None = None
    """The worker is killed after this time, whatever it is doing.

    The time that the caller takes to answer the worker's questions does not count.
    """
    cpu_seconds: float | None = None
    """The CPU time that the job may use. The limit takes effect at the next whole second."""
    memory_bytes: int | None = None
    """The allowed growth of the worker's data during the job."""


@contextmanager
def held_to(limits: dict[str, Any]) -> Iterator[None]:
    """Apply one job's CPU and memory limits to this process while the block runs. Earlier use does not count.

    `limits` has the fields of `WorkerLimits`. Beyond the CPU limit, the kernel sends SIGXCPU. Beyond the memory limit,
    allocations fail. Source: setrlimit(2).
    """
    before = {kind: resource.getrlimit(kind) for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)}
    if (seconds := limits.get("cpu_seconds")) is not None:
        _cpu_seconds.append(seconds)
        renew_cpu_limit()
    if (num_bytes := limits.get("memory_bytes")) is not None:
        _limit(resource.RLIMIT_DATA, data_bytes() + num_bytes)
    try:
        yield
    finally:
        _cpu_seconds.clear()
        for kind, values in before.items():
            resource.setrlimit(kind, values)


def renew_cpu_limit() -> None:
    """Give the running job its full CPU limit again, because one part of its work is done and another begins."""
    for seconds in _cpu_seconds:
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def _limit(kind: int, wanted: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def data_bytes() -> int:
    """Return the size of this process's data and stack in bytes, or 0 if the system has no /proc.

    Source: proc(5), the sixth field of statm, in pages.
    """
    return int(_STATM.read_text().split()[5]) * resource.getpagesize() if _STATM.exists() else 0
