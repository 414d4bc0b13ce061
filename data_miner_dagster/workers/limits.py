"""What one job may cost, and how a process holds itself to it."""

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
"""That of the running job, if it is limited."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one job may cost. None: as much as it takes."""

    wall_seconds: float | None = None
    """The worker is killed then, whatever it is doing. Time in which the caller answers it does not count."""
    cpu_seconds: float | None = None
    """Rounded up to a whole second."""
    memory_bytes: int | None = None
    """How much larger than before the worker's data may become."""


@contextmanager
def held_to(limits: dict[str, Any]) -> Iterator[None]:
    """Hold this process to the limits of CPU and memory of one job; what it has used before does not count.

    Beyond the one the kernel sends SIGXCPU; beyond the other allocations fail. Source: setrlimit(2).
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
    """Begin to count the CPU time of the running job anew: what it was allowed for is done, and more is to come."""
    for seconds in _cpu_seconds:
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + seconds))


def _limit(kind: int, wanted: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def data_bytes() -> int:
    """Source: proc(5): the sixth field of statm is data and stack, in pages. 0 where there is no /proc."""
    return int(_STATM.read_text().split()[5]) * resource.getpagesize() if _STATM.exists() else 0
