"""The thread that renews the claims and run leases that this process holds in a catalog.

Belongs here: the duration of a lease, the thread, and the time since the last progress. Does not belong here: the rows
of claims and leases (claims.py, leases.py).
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import first_line
from data_miner_dagster.domain.errors import DataMinerError

LEASE_SECONDS: Final = 90.0
"""The time in seconds after which a claim or lease that has not been renewed expires."""
RENEW_SECONDS: Final = 20.0
"""The interval between renewals, in seconds. Several renewals may fail before a lease expires."""
RENEW_AGAIN_SECONDS: Final = 5.0
"""The delay in seconds before the next attempt if a renewal failed."""
_IDLE_SECONDS: Final = 1.0
"""The interval in seconds at which the thread checks whether there are still claims or leases to renew."""

_SET_SECONDS: Final = 5.0
"""If the wall clock shifts by more than this many seconds relative to the monotonic clock, it must have been set."""

_LOST: Final = "this process stops working on %s, because another process took it over or ended the run"

logger = logging.getLogger(__name__)


def _drift() -> float:
    return time.time() - held_clock()


def held_clock() -> float:
    """Return the time in seconds of a monotonic clock that also runs while the machine sleeps and leases expire."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


_progress_at = time.monotonic()


def note_progress() -> None:
    """Record that this process has made progress, such as finishing an item, part of an item, or a batch."""
    global _progress_at
    _progress_at = time.monotonic()


def idle_seconds() -> float:
    """Return the seconds since this process last made progress, not counting time during which the machine slept."""
    return time.monotonic() - _progress_at


class Held(Protocol):
    """A held claim or lease. `is_lost` becomes True when it has been taken over or removed."""

    is_lost: bool
    renewed_at: float  # the time on `held_clock` at which the last successful renewal began

    @property
    def shown(self) -> str:
        """The name of the claimed resource or of the run, for messages."""


Renew = Callable[[Database, Sequence[Any]], Sequence[Any]]
"""A function that extends held claims or leases of one kind, and returns those that are still held."""


class Renewer:
    """A thread that renews the claims and leases of this process in one catalog, until there are none left."""

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._held: dict[int, tuple[Held, Renew]] = {}
        self._contexts: dict[int, Context] = {}  # the context in which each is held, for the log lines about it
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, held: Held, renew: Renew) -> None:
        """Start renewing `held`."""
        with self._lock:
            if self._pid != os.getpid():  # after a fork: the held objects and the thread belong to the parent
                self._held, self._contexts, self._thread, self._pid = {}, {}, None, os.getpid()
            self._held[id(held)], self._contexts[id(held)] = (held, renew), copy_context()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lease renewer", daemon=True)
                self._thread.start()

    def remove(self, held: Held) -> None:
        """Stop renewing `held`."""
        with self._lock:
            self._held.pop(id(held), None)
            self._contexts.pop(id(held), None)

    def _run(self) -> None:
        due, drift = held_clock() + RENEW_SECONDS, _drift()
        while True:
            time.sleep(min(_IDLE_SECONDS, max(0.0, due - held_clock())))
            # The clock was set, and by its new time the leases may have expired.
            if abs(_drift() - drift) > _SET_SECONDS:
                due, drift = held_clock(), _drift()
            with self._lock:
                database = self._database()
                if not self._held or database is None:
                    self._thread = None
                    return
                held = list(self._held.values())
            if held_clock() < due:
                continue
            try:
                for renew in dict.fromkeys(renew for _, renew in held):
                    renew_now(database, [one for one, its_renew in held if its_renew is renew], renew)
            except (SQLAlchemyError, DataMinerError) as error:
                # For example, the database is restarting or the disk is full. The lease outlasts a few failures.
                self._warn(
                    held[0][0],
                    "the claims and leases of this process could not be renewed (%s); retrying in %.0f s",
                    first_line(error),
                    RENEW_AGAIN_SECONDS,
                )
                due = held_clock() + RENEW_AGAIN_SECONDS
                continue
            due = held_clock() + RENEW_SECONDS
            with self._lock:
                for one, _ in [entry for entry in self._held.values() if entry[0].is_lost]:
                    self._warn(one, _LOST, one.shown)
                    del self._held[id(one)], self._contexts[id(one)]

    def _warn(self, one: Held, *line: object) -> None:
        self._contexts.get(id(one), copy_context()).run(logger.warning, *line)


def renew_now(database: Database, held: Sequence[Held], renew: Renew) -> None:
    """Extend held claims or leases, all of the kind that `renew` handles, and set `is_lost` on the lost ones."""
    started = held_clock()
    kept = {id(one) for one in renew(database, held)}
    for one in held:
        if id(one) in kept:
            one.renewed_at = started
        else:
            one.is_lost = True


_renewers: weakref.WeakKeyDictionary[Database, Renewer] = weakref.WeakKeyDictionary()
_renewers_lock = threading.Lock()


def renewer_of(database: Database) -> Renewer:
    """Return this process's renewer for a catalog."""
    with _renewers_lock:
        return _renewers.setdefault(database, Renewer(database))
