"""Measure the cost of code: the processor and wall seconds of rivals that take turns, and peak memory."""

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """The processor and wall seconds used by this process and its finished children."""

    cpu: float
    wall: float


def own_peak_bytes() -> int:
    """Return the peak resident memory of this process, in bytes, since it started or since `forget_own_peak`.

    `ru_maxrss` would include the memory that the parent held when it forked. Source: proc(5), VmHWM.
    """
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_own_peak() -> None:
    """Reset the peak to this process's current memory. Source: proc(5), clear_refs."""
    Path("/proc/self/clear_refs").write_text("5")


def cost_of(work: Callable[[], object]) -> Cost:
    """Call the function once and return its cost."""

    def cpu() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before, started = cpu(), time.perf_counter()
    work()
    return Cost(cpu() - before, time.perf_counter() - started)


def compare(
    rivals: Sequence[Callable[[], object]],
    rounds: int,
    pick: Callable[[Iterable[float]], float] = statistics.median,
) -> list[Cost]:
    """Return each rival's cost, as `pick` selects it from all rounds. They take turns, so a disturbance affects all."""
    costs: list[list[Cost]] = [[] for _ in rivals]
    for _ in range(rounds):
        for position, rival in enumerate(rivals):
            costs[position].append(cost_of(rival))
    return [Cost(pick(cost.cpu for cost in each), pick(cost.wall for cost in each)) for each in costs]
