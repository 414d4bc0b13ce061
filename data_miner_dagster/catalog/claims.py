"""Claims: one worker at a time on one piece of work, and a dead worker's work is free again.

A claim is a lease: a row with an expiry date, renewed by a thread of the holder. It is taken by INSERT, or by an
UPDATE that is conditional on the old holder's token, so that of two takers one succeeds on any database. A claim is
free when it has expired, or when its process on this host is gone, which a SIGKILL makes true at once. Expiry dates
are by the database server's clock where there is one, so that hosts need not agree on the time.
"""

import itertools
import logging
import os
import random
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Table, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.catalog.schema import ClaimRow
from data_miner_dagster.domain.errors import ClaimHeldError, DataMinerError

LEASE_SECONDS: Final = 90.0
"""A holder on another host that has not renewed for so long is taken for dead."""
RENEW_SECONDS: Final = 20.0
"""Several renewals may fail before a lease expires."""
RENEW_AGAIN_SECONDS: Final = 5.0
"""After a renewal that the database refused."""
_IDLE_SECONDS: Final = 1.0
"""The thread that renews looks so often whether it is needed: claims follow each other faster than threads start."""
POLL_SECONDS: Final = 0.5
"""The longest pause between two looks at a claim that somebody holds."""
_TOKENS_A_STATEMENT: Final = 500
_CLAIMS: Final = cast("Table", ClaimRow.__table__)
"""Statements on the table, and those made once, take half the time; a claim is taken for every video."""
_TAKE: Final = insert(_CLAIMS)
_RELEASE: Final = delete(_CLAIMS).where(
    _CLAIMS.c.resource == bindparam("resource"), _CLAIMS.c.token == bindparam("token")
)

logger = logging.getLogger(__name__)


def is_claim_live(claim: ClaimRow, now: datetime) -> bool:
    """Return whether the holder of `claim` may still be at work."""
    if claim.expires_at <= now:
        return False
    return not ProcessIdentity(claim.host, claim.pid, claim.process_started).is_gone()


@dataclass(slots=True)
class Claim:
    """A claim that is held. `is_lost` turns true if another worker took it over (this one was suspended too long).

    Losing one costs work, never correctness: files appear whole and are the same whoever writes them, and of two
    workers that want one change of status, one gets it.
    """

    resource: str
    token: str
    is_lost: bool = False


def try_claim(database: Database, resource: str, *, run_id: str | None = None) -> Claim | None:
    """Take a claim if nobody alive holds it, else return None; this process counts as somebody, too."""
    process = this_process()
    claim = Claim(resource, uuid.uuid4().hex)

    def values(now: datetime) -> dict[str, Any]:
        return {
            "token": claim.token,
            "host": process.host,
            "pid": process.pid,
            "process_started": process.started,
            "run_id": run_id,
            "claimed_at": now,
            "expires_at": now + timedelta(seconds=LEASE_SECONDS),
        }

    try:
        with database.transaction() as session:
            session.execute(_TAKE, {"resource": resource, **values(database.now(session))})
    except IntegrityError:  # there is one
        with database.transaction() as session:
            now = database.now(session)
            held = session.get(ClaimRow, resource)
            if held is None or is_claim_live(held, now):
                return None
            is_same = _CLAIMS.c.resource == resource, _CLAIMS.c.token == held.token
            taken = session.execute(update(_CLAIMS).where(*is_same).values(**values(now)))
            if cast("CursorResult[Any]", taken).rowcount != 1:
                return None
            logger.info("%s: took over from process %s on %s, which is gone", resource, held.pid, held.host)
    return claim


def release_claim(database: Database, claim: Claim) -> None:
    """Give a claim back. Nothing happens if it has been lost."""
    with database.transaction() as session:
        session.execute(_RELEASE, {"resource": claim.resource, "token": claim.token})


def _is_held(database: Database, resource: str) -> bool:
    with database.reading() as session:
        held = session.get(ClaimRow, resource)
        return held is not None and is_claim_live(held, database.now(session))


def live_claims(database: Database) -> list[ClaimRow]:
    """Return the claims whose holder may still be at work, by resource."""
    with database.reading() as session:
        now = database.now(session)
        return [row for row in session.scalars(select(ClaimRow).order_by(ClaimRow.resource)) if is_claim_live(row, now)]


@contextmanager
def hold_claim(
    database: Database,
    resource: str,
    *,
    wait_seconds: float,
    run_id: str | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Claim]:
    """Hold a claim while the block runs, waiting up to `wait_seconds` for another holder to finish.

    After a wait the caller looks again whether there is anything left to do. A claim is not re-entrant.

    Raises:
        ClaimHeldError: a live worker still holds it after `wait_seconds`.
    """
    claim = _wait_for_claim(database, resource, wait_seconds, run_id, on_wait)
    renewer = _renewer_of(database)
    try:
        renewer.add(claim)
        yield claim
    finally:
        renewer.remove(claim)
        try:
            release_claim(database, claim)
        except (SQLAlchemyError, DataMinerError) as error:
            # Not worth losing the block's own result or error for: nobody renews it any more, so it expires.
            logger.warning("%s could not be released and expires in %.0f s: %s", resource, LEASE_SECONDS, error)


def _wait_for_claim(
    database: Database,
    resource: str,
    wait_seconds: float,
    run_id: str | None,
    on_wait: Callable[[str], None] | None,
) -> Claim:
    deadline = time.monotonic() + wait_seconds
    for attempt in itertools.count():
        # The first try finds it free, nearly always. Who waits must not compete for the write lock, and looks first.
        is_worth_a_try = attempt == 0 or not _is_held(database, resource)
        claim = try_claim(database, resource, run_id=run_id) if is_worth_a_try else None
        if claim is not None:
            return claim
        left = deadline - time.monotonic()
        if left <= 0:
            break
        if attempt == 0 and on_wait is not None:
            on_wait(f"{resource} is being worked on by another process; waiting")
        pause = min(POLL_SECONDS, 0.02 * 2**attempt) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads waiters
        time.sleep(min(pause, left))
    raise ClaimHeldError(
        f"{resource} is being worked on by another process; wait for it, or see who with `data-miner doctor`"
    )


class _Renewer:
    """One thread that renews all claims this process holds in one catalog; it ends soon after the last of them."""

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, claim: Claim) -> None:
        with self._lock:
            if self._pid != os.getpid():  # after a fork: the claims are the parent's, and so was the thread
                self._held, self._thread, self._pid = {}, None, os.getpid()
            self._held[claim.token] = claim
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claim renewer", daemon=True)
                self._thread.start()

    def remove(self, claim: Claim) -> None:
        with self._lock:
            self._held.pop(claim.token, None)

    def _run(self) -> None:
        due = time.monotonic() + RENEW_SECONDS
        while True:
            time.sleep(min(_IDLE_SECONDS, max(0.0, due - time.monotonic())))
            with self._lock:
                database = self._database()
                if not self._held or database is None:
                    self._thread = None
                    return
                held = dict(self._held)
            if time.monotonic() < due:
                continue
            try:
                kept = renew_claims(database, list(held))
            except (SQLAlchemyError, DataMinerError) as error:
                # the database restarts, a disk is full: the lease outlasts a few of these
                logger.warning("%d claims could not be renewed, trying again: %s", len(held), error)
                due = time.monotonic() + RENEW_AGAIN_SECONDS
                continue
            due = time.monotonic() + RENEW_SECONDS
            for token, claim in held.items():
                claim.is_lost = claim.is_lost or token not in kept
            with self._lock:
                for claim in [claim for claim in self._held.values() if claim.is_lost]:
                    logger.warning("%s was taken over by another process", claim.resource)
                    del self._held[claim.token]


_renewers: weakref.WeakKeyDictionary[Database, _Renewer] = weakref.WeakKeyDictionary()
_renewers_lock = threading.Lock()


def _renewer_of(database: Database) -> _Renewer:
    with _renewers_lock:
        return _renewers.setdefault(database, _Renewer(database))


def renew_claims(database: Database, tokens: list[str]) -> set[str]:
    """Extend the leases of these tokens; return the tokens that are still held."""
    kept: set[str] = set()
    for start in range(0, len(tokens), _TOKENS_A_STATEMENT):
        some = tokens[start : start + _TOKENS_A_STATEMENT]
        with database.transaction() as session:
            expires_at = database.now(session) + timedelta(seconds=LEASE_SECONDS)
            session.execute(update(ClaimRow).where(ClaimRow.token.in_(some)).values(expires_at=expires_at))
            kept.update(session.scalars(select(ClaimRow.token).where(ClaimRow.token.in_(some))))
    return kept
