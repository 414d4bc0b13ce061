"""The caller's side: a pool of worker processes, started on demand, reused, and replaced when they end."""

import mmap
import struct
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from data_miner_dagster.workers.errors import WorkerDiedError, WorkersClosedError
from data_miner_dagster.workers.limits import WorkerLimits
from data_miner_dagster.workers.nursery import Nursery, keep, nursery_of
from data_miner_dagster.workers.worker import OnCall, Worker


class WorkerPool:
    """Worker processes for the jobs of one module. Thread-safe.

    Args:
        module: the module to run as `python -m module`, which ends with `serving.serve(JOBS)`.
        size: the maximum number of concurrent workers, or None for no maximum. Further calls wait for a free worker.
        environment: names of additional environment variables that the workers may see.
        beside: another pool of the same module, whose nursery forks the workers of this pool, or None if this pool has
            its own nursery.
    """

    def __init__(
        self,
        module: str,
        *,
        size: int | None = None,
        environment: Collection[str] = (),
        beside: "WorkerPool | None" = None,
    ) -> None:
        self._module = module
        self._beside = beside
        self._environment = frozenset(environment)
        self._places = threading.BoundedSemaphore(size) if size is not None else None
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._nursery: Nursery | None = None
        self._idle: list[Worker] = []
        self._all: list[Worker] = []
        self._is_closed = False
        self._notices_file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._notices_file.truncate(8)
        self._notices = mmap.mmap(self._notices_file.fileno(), 8)
        self._num_notices = 0

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing. Calls in progress raise WorkersClosedError."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            workers, self._all = self._all, []
            idle, self._idle = self._idle, []
        if was_closed:
            return
        for worker in workers:  # the thread that waits for a busy worker closes its files
            worker.kill()
        for worker in idle:
            worker.close_files()
        with self._starting:
            if self._nursery is not None:
                keep(self._nursery)
        self._notices.close()
        self._notices_file.close()

    def beside(self) -> "WorkerPool":
        """Return another pool for the same module. It must be closed before this pool.

        The pools share the process that has imported the module, which saves starting another. The new pool has its own
        workers, which never see data that was given to this pool's workers.
        """
        return WorkerPool(self._module, environment=self._environment, beside=self)

    def start(self) -> None:
        """Start importing the module in the background, so that the first call is faster.

        Raises:
            WorkersClosedError: the pool is closed.
        """
        self.live_nursery()

    def notify(self) -> None:
        """Increase the number that `serving.num_notices` returns in this pool's workers. No message is sent."""
        with self._lock:
            if not self._is_closed:
                self._num_notices += 1
                struct.pack_into("=Q", self._notices, 0, self._num_notices)

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the current workers."""
        with self._lock:
            return [worker.process_id for worker in self._all]

    def call(
        self,
        job: str,
        arguments: dict[str, Any],
        *,
        limits: WorkerLimits | None = None,
        on_call: OnCall | None = None,
    ) -> Any:
        """Run a job in a worker and return its answer.

        Args:
            job: the name of the job in the module's `JOBS`.
            arguments: the arguments of the job, which must be JSON-serializable.
            limits: the limits of the job, or None for no limits.
            on_call: a function that answers the job's questions (`serving.ask`), or None if the job asks none.

        Raises:
            WorkerLimitError: the job exceeded `limits`, or its answer is too long. The worker is not used again.
            WorkerDiedError: no worker could be started, or the worker ended during the job.
            WorkerFaultError: the job raised an unexpected exception.
            WorkersClosedError: `close` was called before or during the job.
            DataMinerError, OSError: the job raised this error. Exceptions from `on_call` are also raised unchanged.
        """
        with self._borrowed() as worker:
            try:
                return worker.ask(job, arguments, limits or WorkerLimits(), on_call)
            except WorkerDiedError:
                if self._is_closed:
                    raise WorkersClosedError from None
                raise

    @contextmanager
    def _borrowed(self) -> Iterator[Worker]:
        if self._places is not None:
            self._places.acquire()
        try:
            worker = self._worker()
            try:
                yield worker
            finally:
                with self._lock:
                    goes_on = worker.is_sound and not self._is_closed
                    if goes_on:
                        self._idle.append(worker)
                    elif worker in self._all:
                        self._all.remove(worker)
                if not goes_on:
                    worker.kill()
                    worker.close_files()
        finally:
            if self._places is not None:
                self._places.release()

    def _worker(self) -> Worker:
        while True:
            with self._lock:
                if self._is_closed:
                    raise WorkersClosedError
                worker = self._idle.pop() if self._idle else None
                if worker is not None and worker.is_sound:
                    return worker
                if worker is not None:
                    self._all.remove(worker)
            if worker is None:
                break
            worker.close_files()  # it ended together with its nursery
        try:
            nursery = self.live_nursery()
            worker = Worker(nursery, *nursery.spawn(self._notices_file.fileno()))
        except (ValueError, WorkerDiedError):  # ValueError: the notices file is closed
            if self._is_closed:
                raise WorkersClosedError from None
            raise
        with self._lock:
            if not self._is_closed:
                self._all.append(worker)
                return worker
        worker.kill()
        worker.close_files()
        raise WorkersClosedError

    def live_nursery(self) -> Nursery:
        """Return the nursery that forks the workers, restarting it if it has ended.

        Raises:
            WorkersClosedError: the pool is closed.
        """
        if self._beside is not None:
            return self._beside.live_nursery()
        with self._starting:
            if self._is_closed:
                raise WorkersClosedError
            if self._nursery is None or not self._nursery.is_alive:
                if self._nursery is not None:
                    self._nursery.close()
                self._nursery = nursery_of(self._module, self._environment)
            return self._nursery
