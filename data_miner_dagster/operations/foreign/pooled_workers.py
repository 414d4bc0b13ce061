"""Define the base class for clients of worker processes. It owns their pool."""

from typing import Self

from data_miner_dagster.workers.pool import WorkerPool


class PooledWorkers:
    """A client of the workers in a pool. Closing this object closes the pool."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, even those that are busy."""
        self._pool.close()

    def start(self) -> None:
        """Start importing the modules that workers need, in a separate process, and return immediately."""
        self._pool.start()
