"""Claims, which ensure that only one worker does a piece of work, and that the work of a dead worker becomes free.

A claim is a row with an expiry time that a thread of the holder renews. It is taken by an INSERT, or by an UPDATE
conditional on the old holder's token, so at most one of two competing workers succeeds on any database. A claim is free
when it has expired. For workers on its holder's host, it is free as soon as the holder's process has ended.
Expiry times use the database server's clock if there is a server, so hosts need not agree on the time.
"""

import itertools
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Table, bindparam, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import first_line
from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.catalog.renewal import LEASE_SECONDS, held_clock, renew_now, renewer_of
from data_miner_dagster.catalog.schema import ClaimRow, ProjectVideoRow
from data_miner_dagster.domain.errors import ClaimHeldError, ClaimLostError, DataMinerError

POLL_SECONDS: Final = 0.5
"""The pause between two checks of a claim that another worker holds grows to this many seconds, varied by 25 %."""
_TOKENS_A_STATEMENT: Final = 500
_CLAIMS: Final = cast("Table", ClaimRow.__table__)
"""The table of claims for Core statements, which take half the time of ORM statements. Each video needs a claim."""
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
    """A held claim. `is_lost` becomes True if it was revoked, or was taken over because it was not renewed in time.

    Losing a claim costs work but never correctness. Files appear atomically and are the same for every writer, and only
    one of two workers can make the same status change.
    """

    resource: str
    token: str
    may_have_rival: bool = False
    """Whether the claim was taken from a holder that did not renew it in time but may still be running."""
    is_lost: bool = False
    renewed_at: float = field(default_factory=held_clock)
    """The time on `held_clock` at which the last successful renewal began."""

    @property
    def shown(self) -> str:
        """The claimed resource, for messages."""
        return self.resource


def check_claim(database: Database, claim: Claim) -> None:
    """Check that a claim is still held, before its holder publishes anything.

    The catalog is queried only if the renewal is overdue.

    Raises:
        ClaimLostError: the claim was taken over by another worker, or revoked.
        SQLAlchemyError, DataMinerError: the renewal is overdue, and the catalog cannot be reached or written.
    """
    if not claim.is_lost and held_clock() - claim.renewed_at > LEASE_SECONDS / 2:  # suspended or disconnected
        renew_now(database, [claim], _renew)
    if claim.is_lost:
        raise ClaimLostError(
            f"this process lost its claim on {claim.resource}, because the process was suspended or disconnected from "
            "the catalog, or its run was ended; another process or run continues the work"
        )


def try_claim(database: Database, resource: str, *, run_id: str | None = None) -> Claim | None:
    """Take a claim without waiting. Return None if a live worker, which may be in this process, holds it.

    The result may also be None if the claim is taken or released at the same time.
    """
    holder = this_process()
    claim = Claim(resource, uuid.uuid4().hex)

    def values(now: datetime) -> dict[str, Any]:
        return {
            "token": claim.token,
            "host": holder.host,
            "pid": holder.pid,
            "process_started": holder.started,
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
            # Compare the expiry too: a holder that was only suspended may have renewed the claim since it was read.
            is_same = (
                _CLAIMS.c.resource == resource,
                _CLAIMS.c.token == held.token,
                _CLAIMS.c.expires_at == held.expires_at,
            )
            process = ProcessIdentity(held.host, held.pid, held.process_started)
            claim.may_have_rival = not process.is_gone()
            taken = session.execute(update(_CLAIMS).where(*is_same).values(**values(now)))
            if cast("CursorResult[Any]", taken).rowcount != 1:
                return None
            logger.info(
                "took over the claim on %s from process %s on %s, which has ended or stopped renewing it",
                resource,
                held.pid,
                held.host.partition("|")[0],
            )
    return claim


def release_claim(database: Database, claim: Claim) -> None:
    """Release a claim, unless it has been lost."""
    with database.transaction() as session:
        session.execute(_RELEASE, {"resource": claim.resource, "token": claim.token})


def _is_held(database: Database, resource: str) -> bool:
    with database.reading() as session:
        held = session.get(ClaimRow, resource)
        return held is not None and is_claim_live(held, database.now(session))


def live_claims(database: Database, project: str | None = None) -> list[ClaimRow]:
    """Return the claims whose holders may still be working, sorted by resource.

    Args:
        database: the catalog.
        project: return only the claims on this project and on its videos. If it is None, all claims are returned.
    """
    wanted = select(ClaimRow).order_by(ClaimRow.resource)
    if project is not None:
        member = select(literal("video/") + ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == project)
        wanted = wanted.where(or_(ClaimRow.resource == f"project/{project}", ClaimRow.resource.in_(member)))
    with database.reading() as session:
        now = database.now(session)
        return [row for row in session.scalars(wanted) if is_claim_live(row, now)]


@contextmanager
def hold_claim(
    database: Database,
    resource: str,
    *,
    wait_seconds: float,
    run_id: str | None = None,
    on_wait: Callable[[str], None] | None = None,
    stopping: threading.Event | None = None,
) -> Iterator[Claim]:
    """Hold a claim while the block runs, after waiting up to `wait_seconds` for another holder to finish.

    After waiting, the caller must check whether there is still anything to do. A claim is not re-entrant.

    Args:
        database: the catalog.
        resource: the name of the claimed resource, such as "video/<key>".
        wait_seconds: the longest time to wait.
        run_id: the run that the claim belongs to, or None if it belongs to no run.
        on_wait: a function that is called once, with a human-readable line, before waiting for another worker.
        stopping: an event that ends the wait when it is set.

    Raises:
        ClaimHeldError: a live worker still holds the claim after `wait_seconds`, or when `stopping` is set.
    """
    claim = _wait_for_claim(database, resource, wait_seconds, run_id, on_wait, stopping or threading.Event())
    renewer = renewer_of(database)
    try:
        renewer.add(claim, _renew)
        yield claim
    finally:
        renewer.remove(claim)
        try:
            release_claim(database, claim)
        except (SQLAlchemyError, DataMinerError) as error:
            # Keep the block's own result or error. The claim is no longer renewed, so it will expire.
            logger.warning(
                "the claim on %s could not be released (%s); it will expire within %.0f s",
                resource,
                first_line(error),
                LEASE_SECONDS,
            )


def keep_claim(database: Database, claim: Claim) -> None:
    """Keep renewing a claim until this process ends, unless the claim is lost.

    A worker on the same host can take the claim as soon as the process has ended; others must wait until it expires.
    """
    renewer_of(database).add(claim, _renew)


def _wait_for_claim(
    database: Database,
    resource: str,
    wait_seconds: float,
    run_id: str | None,
    on_wait: Callable[[str], None] | None,
    stopping: threading.Event,
) -> Claim:
    deadline = time.monotonic() + wait_seconds
    for attempt in itertools.count():
        # The claim is nearly always free on the first try. Waiters check first, to avoid competing for the write lock.
        is_worth_a_try = attempt == 0 or not _is_held(database, resource)
        claim = try_claim(database, resource, run_id=run_id) if is_worth_a_try else None
        if claim is not None:
            return claim
        left = deadline - time.monotonic()
        if left <= 0:
            break
        if attempt == 0 and on_wait is not None:
            on_wait(f"{resource} is in use by another process; waiting until it is free")
        pause = min(POLL_SECONDS, 0.02 * 2**attempt) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads waiters
        if stopping.wait(min(pause, left)):
            break
    raise ClaimHeldError(
        f"{resource} is in use by another process; try again when that process has finished (`data-miner status` lists "
        "the processes at work)"
    )


def renew_claims(database: Database, tokens: list[str]) -> set[str]:
    """Renew the claims with these tokens. Return the tokens of those that are still held."""
    kept: set[str] = set()
    for start in range(0, len(tokens), _TOKENS_A_STATEMENT):
        some = tokens[start : start + _TOKENS_A_STATEMENT]
        with database.transaction() as session:
            expires_at = database.now(session) + timedelta(seconds=LEASE_SECONDS)
            session.execute(update(ClaimRow).where(ClaimRow.token.in_(some)).values(expires_at=expires_at))
            kept.update(session.scalars(select(ClaimRow.token).where(ClaimRow.token.in_(some))))
    return kept


def _renew(database: Database, claims: Sequence[Claim]) -> list[Claim]:
    kept = renew_claims(database, [claim.token for claim in claims])
    return [claim for claim in claims if claim.token in kept]


def revoke_claims(database: Database, run_id: str) -> list[str]:
    """Revoke the claims of a run that was ended, even if its process continues. Return the claimed resources, sorted.

    The rows remain but are expired, which tells the next holder that the previous one may still be running.
    """
    with database.transaction() as session:
        now = database.now(session)
        held = session.scalars(select(ClaimRow).where(ClaimRow.run_id == run_id).order_by(ClaimRow.resource)).all()
        for row in held:
            row.token, row.expires_at = uuid.uuid4().hex, min(row.expires_at, now)
        return [row.resource for row in held]
