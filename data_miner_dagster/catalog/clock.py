"""A clock that all hosts of a catalog share, for times that are compared outside a transaction."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.catalog.renewal import held_clock
from data_miner_dagster.domain.errors import DataMinerError

_ASK_AGAIN_SECONDS: Final = 60.0


class SharedClock:
    """The database's clock, without a query for each reading. Thread-safe.

    On PostgreSQL, the server is queried once a minute. In between, the time elapsed on this host is added. On SQLite,
    it is this host's clock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._asked: tuple[datetime, float] | None = None  # the server's time, and held_clock() when it was read

    def now(self) -> datetime:
        """Return the current time in UTC. While the server is unreachable, extrapolate from its last answer.

        Raises:
            SQLAlchemyError, DataMinerError: the server is unreachable, and has never answered.
        """
        if not self._database.is_postgresql:
            return datetime.now(UTC)
        with self._lock:
            if self._asked is None or held_clock() - self._asked[1] > _ASK_AGAIN_SECONDS:
                self._asked = self._ask()
            said, at = self._asked
            return said + timedelta(seconds=held_clock() - at)

    def _ask(self) -> tuple[datetime, float]:
        try:
            with self._database.reading() as session:
                return self._database.now(session), held_clock()
        except (DATABASE_ERROR, DataMinerError):
            if self._asked is None:
                raise
            return self._asked  # the server is unreachable, so the time is extrapolated from its last answer
