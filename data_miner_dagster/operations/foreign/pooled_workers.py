"""The base of all clients of worker processes: the pool behind them, and its lifetime."""

from typing import Self

from data_miner_dagster.workers.pool import WorkerPool


class PooledWorkers:
    """Answers from the workers of a pool, which ends with this object."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._pool.close()

    def start(self) -> None:
        """Start importing what workers need, in a separate process. Returns immediately."""
        self._pool.start()
