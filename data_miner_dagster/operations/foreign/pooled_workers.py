"""What all questions to worker processes have in common: the pool behind them, and when it begins and ends."""

from typing import Self

from data_miner_dagster.workers.pool import WorkerPool


class PooledWorkers:
    """Answers from the workers of a pool, which end with this."""

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
        """Begin to import what workers need, in a process apart; returns at once."""
        self._pool.start()
