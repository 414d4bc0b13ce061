"""Measurement of the cost of work while it is done: requests, bytes, CPU time and time in models.

A `Meter` belongs to one piece of work. Code that incurs a cost calls `note`, `model_call`, `floor` or `floor_of`, which
find the meter of the current work and count nothing if there is none. A thread meter counts the CPU time of the threads
that work for it (`Meter.working`, `for_current_meter`). A process meter counts the CPU time that no thread meter has
counted. Therefore nothing is counted twice, however the work is parallelized.

Does not belong here: storing measurements (catalog/measurements.py), or summing them up (stages/costs.py).
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.work import WorkStage

P = ParamSpec("P")
T = TypeVar("T")

_TASKS: Final = Path("/proc/self/task")
_THREAD_CLOCK: Final = 6
"""CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED: the CPU time of any thread of this process. Source: clock_getcpuclockid(3)."""


class Meter:
    """The cost of one piece of work so far. Thread-safe.

    Args:
        stage: the stage that does the work, or None in a worker process, which reports the cost to its parent.
        subject: the video or project being worked on, or None if it changes during the work.
        run_id: the id of the Dagster run, or None if there is no run.
        of_process: whether to count the CPU time of the process that no thread meter counts, including the time of
            library threads. Several process meters share this time equally.
        with_libraries: whether to also count the CPU time of threads that libraries have started (BLAS, OpenMP,
            OpenCV).
    """

    def __init__(
        self,
        stage: WorkStage | None = None,
        subject: str | None = None,
        run_id: str | None = None,
        *,
        of_process: bool = False,
        with_libraries: bool = False,
    ) -> None:
        self.stage = stage
        self.subject = subject
        self.run_id = run_id
        self._is_of_process = of_process
        self._with_libraries = with_libraries
        self._lock = threading.Lock()
        self._sum = Measured()
        self._wall_since = time.monotonic()
        self._cpu_since: dict[int, float] = {}  # by thread: the CPU clock's reading when its time was last counted
        self._num_threads = 0  # threads that work for this meter

    def add(self, measured: Measured) -> None:
        """Add a cost to this meter."""
        with self._lock:
            self._sum = self._sum + measured

    @contextmanager
    def working(self) -> Iterator["Meter"]:
        """Count this thread's work on this meter while the block runs. The thread's previous meter is paused."""
        before = _current.get()
        if before is self and (self._is_of_process or threading.get_ident() in self._cpu_since):
            yield self
            return
        if before is not None:
            before.settle_thread()
        token = _current.set(self)
        self._begin()
        try:
            yield self
        finally:
            self._end()
            _current.reset(token)
            if before is not None:
                before.restart_thread()

    def take(self) -> Measured:
        """Return the cost since the previous call, or since the start, and restart from zero."""
        self.settle_thread()
        if self._is_of_process:
            _of_process.settle()
        if self._with_libraries:
            self.add(Measured(cpu_seconds=_libraries.take()))
        with self._lock:
            now = time.monotonic()
            taken = replace(self._sum, wall_seconds=self._sum.wall_seconds + now - self._wall_since)
            self._sum, self._wall_since = Measured(), now
        return taken

    def settle_thread(self) -> None:
        """Add the CPU time of this thread up to now, if the thread works for this meter."""
        last = self._cpu_since.get(threading.get_ident())
        if last is not None:
            now = time.thread_time()
            self._cpu_since[threading.get_ident()] = now
            self.add(Measured(cpu_seconds=now - last))
            _of_process.leave_out(now - last)

    def restart_thread(self) -> None:
        """Discard the CPU time of this thread that has not been counted yet, if the thread works for this meter."""
        if threading.get_ident() in self._cpu_since:
            self._cpu_since[threading.get_ident()] = time.thread_time()

    def _begin(self) -> None:
        with self._lock:
            is_first, self._num_threads = self._num_threads == 0, self._num_threads + 1
        if self._with_libraries and is_first:
            _libraries.take()
        if not self._is_of_process:
            self._cpu_since[threading.get_ident()] = time.thread_time()
        elif is_first:
            _of_process.begin(self)

    def _end(self) -> None:
        self.settle_thread()
        self._cpu_since.pop(threading.get_ident(), None)
        with self._lock:
            self._num_threads -= 1
            is_last = self._num_threads == 0
        if self._is_of_process and is_last:
            _of_process.end(self)


class _OfProcess:
    """Distributes CPU time equally among the process meters: the time that no thread meter has counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._meters: list[Meter] = []
        self._since = 0.0
        self._left_out = 0.0

    @property
    def last(self) -> Meter | None:
        """The process meter that was started last, or None if there is none."""
        meters = self._meters
        return meters[-1] if meters else None

    def begin(self, meter: Meter) -> None:
        with self._lock:
            self._share_out()
            self._meters = [*self._meters, meter]

    def end(self, meter: Meter) -> None:
        with self._lock:
            self._share_out()
            self._meters = [other for other in self._meters if other is not meter]

    def settle(self) -> None:
        with self._lock:
            self._share_out()

    def leave_out(self, cpu_seconds: float) -> None:
        if self._meters:
            with self._lock:
                self._left_out += cpu_seconds

    def _share_out(self) -> None:
        now = time.process_time()
        spent = max(0.0, now - self._since - self._left_out)
        self._since, self._left_out = now, 0.0
        for meter in self._meters:
            meter.add(Measured(cpu_seconds=spent / len(self._meters)))


class _Libraries:
    """Measures the CPU time of the threads of this process that Python did not start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, float] = {}

    def take(self) -> float:
        """Return the CPU seconds used by library threads since the previous call, or 0 if the system is not Linux.

        The time of a thread that started after the previous call counts from its start. Process meters do not count the
        returned seconds again.
        """
        if sys.platform != "linux":
            return 0.0
        with self._lock:
            ours = {thread.native_id for thread in threading.enumerate()}
            now = {}
            for thread_id in (int(entry.name) for entry in _TASKS.iterdir()):
                if thread_id not in ours:
                    with suppress(OSError):  # the thread has ended
                        now[thread_id] = time.clock_gettime(~thread_id << 3 | _THREAD_CLOCK)
            spent = sum(seconds - self._known.get(thread_id, 0.0) for thread_id, seconds in now.items())
            self._known = now
        spent = max(0.0, spent)
        _of_process.leave_out(spent)
        return spent


_current: Final[ContextVar[Meter | None]] = ContextVar("meter", default=None)
_of_process: Final = _OfProcess()
_libraries: Final = _Libraries()


def current_meter() -> Meter | None:
    """Return this thread's meter, or else the latest process meter, or None if there is neither."""
    return _current.get() or _of_process.last


def note(measured: Measured) -> None:
    """Add a cost to the meter of the current work, if there is one."""
    meter = current_meter()
    if meter is not None:
        meter.add(measured)


@contextmanager
def model_call(model: object) -> Iterator[None]:
    """Count the block's time as unavoidable for the stage, and as GPU time if the model's `device` is not a CPU."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        is_on_gpu = not str(getattr(model, "device", "cpu")).startswith("cpu")
        note(Measured(floor_seconds=seconds, gpu_seconds=seconds if is_on_gpu else 0.0))


@contextmanager
def floor() -> Iterator[None]:
    """Count the time of the block as time that the stage cannot avoid."""
    began = time.monotonic()
    try:
        yield
    finally:
        note(Measured(floor_seconds=time.monotonic() - began))


def floor_of(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, and count the time spent waiting for them as time that the stage cannot avoid."""
    waited = 0.0
    iterator = iter(items)
    try:
        while True:
            began = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                waited += time.monotonic() - began
            yield item
    finally:
        note(Measured(floor_seconds=waited))


def for_current_meter(work: Callable[P, T]) -> Callable[P, T]:
    """Return a version of `work` whose cost is counted on the current meter, whichever thread calls it.

    Without a current meter, `work` itself is returned.
    """
    meter = current_meter()
    if meter is None:
        return work

    def metered(*args: P.args, **kwargs: P.kwargs) -> T:
        with meter.working():
            return work(*args, **kwargs)

    return metered
