"""Claims: ensure that only one worker does a piece of work, and free the work of dead workers.

A claim is a lease: a row with an expiry date that a thread of the holder renews. It is taken by an INSERT, or by an
UPDATE conditional on the old holder's token, so that exactly one of two takers succeeds on any database. A claim is
free when it has expired, or when its process on this host is gone, as it is immediately after a SIGKILL. Expiry dates
use the database server's clock if there is a server, so hosts need not agree on the time.
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
"""A holder on another host is considered dead if it has not renewed for this long."""
RENEW_SECONDS: Final = 20.0
"""Interval between renewals. Several may fail before a lease expires."""
RENEW_AGAIN_SECONDS: Final = 5.0
"""Delay after a renewal that the database refused."""
_IDLE_SECONDS: Final = 1.0
"""How often the idle renewal thread checks for new claims. Reusing it is cheaper than starting a thread per claim."""
POLL_SECONDS: Final = 0.5
"""Longest pause between two checks of a claim held by someone else."""
_TOKENS_A_STATEMENT: Final = 500
_CLAIMS: Final = cast("Table", ClaimRow.__table__)
"""Prebuilt Core statements take half the time of ORM statements, and every video takes a claim."""
_TAKE: Final = insert(_CLAIMS)
_RELEASE: Final = delete(_CLAIMS).where(
    _CLAIMS.c.resource == bindparam("resource"), _CLAIMS.c.token == bindparam("token")
)

logger = logging.getLogger(__name__)


def is_claim_live(claim: ClaimRow, now: datetime) -> bool:
    """Return whether the holder of `claim` may still be working."""
    if claim.expires_at <= now:
        return False
    return not ProcessIdentity(claim.host, claim.pid, claim.process_started).is_gone()


@dataclass(slots=True)
class Claim:
    """A held claim. `is_lost` becomes true if another worker took it over because this one was suspended too long.

    Losing a claim costs work but never correctness. Files appear atomically and are the same for every writer, and
    only one of two workers can make the same status change.
    """

    resource: str
    token: str
    is_lost: bool = False


def try_claim(database: Database, resource: str, *, run_id: str | None = None) -> Claim | None:
    """Take a claim, or return None if a live worker holds it, including this process."""
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
    except IntegrityError:  # the claim exists already
        with database.transaction() as session:
            now = database.now(session)
            held = session.get(ClaimRow, resource)
            if held is None or is_claim_live(held, now):
                return None
            # Its expiry too: a holder that had only slept may have renewed it since it was read.
            is_same = (
                _CLAIMS.c.resource == resource,
                _CLAIMS.c.token == held.token,
                _CLAIMS.c.expires_at == held.expires_at,
            )
            taken = session.execute(update(_CLAIMS).where(*is_same).values(**values(now)))
            if cast("CursorResult[Any]", taken).rowcount != 1:
                return None
            logger.info("%s: took over from process %s on %s, which is gone", resource, held.pid, held.host)
    return claim


def release_claim(database: Database, claim: Claim) -> None:
    """Release a claim. Does nothing if it has been lost."""
    with database.transaction() as session:
        session.execute(_RELEASE, {"resource": claim.resource, "token": claim.token})


def _is_held(database: Database, resource: str) -> bool:
    with database.reading() as session:
        held = session.get(ClaimRow, resource)
        return held is not None and is_claim_live(held, database.now(session))


def live_claims(database: Database) -> list[ClaimRow]:
    """Return the claims whose holder may still be working, sorted by resource."""
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
    """Hold a claim while the block runs, after waiting up to `wait_seconds` for another holder to finish.

    After a wait the caller must check whether anything is left to do. A claim is not re-entrant.

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
            # Keep the block's own result or error. The claim is no longer renewed, so it expires.
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
        # The claim is nearly always free at the first try. Waiters check first to avoid competing for the write lock.
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
    """A thread that renews all claims of this process in one catalog. It ends soon after the last claim."""

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._held: dict[str, Claim] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, claim: Claim) -> None:
        with self._lock:
            if self._pid != os.getpid():  # after a fork: claims and thread belong to the parent
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
                # For example a database restart or a full disk. The lease outlasts a few failures.
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
    """Extend the leases of these tokens, and return the tokens that are still held."""
    kept: set[str] = set()
    for start in range(0, len(tokens), _TOKENS_A_STATEMENT):
        some = tokens[start : start + _TOKENS_A_STATEMENT]
        with database.transaction() as session:
            expires_at = database.now(session) + timedelta(seconds=LEASE_SECONDS)
            session.execute(update(ClaimRow).where(ClaimRow.token.in_(some)).values(expires_at=expires_at))
            kept.update(session.scalars(select(ClaimRow.token).where(ClaimRow.token.in_(some))))
    return kept
