"""Claims: one worker at a time on one piece of work, and a dead worker's work is free again.

A claim is a lease: a row with an expiry date, renewed by a thread of the holder. It is taken by INSERT, or by an
UPDATE that is conditional on the old holder's token, so that of two takers one succeeds on any database. A claim is
free when it has expired, or when its process on this host is gone, which a SIGKILL makes true at once.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.exc import IntegrityError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import ClaimRow, utc_now
from data_miner_dagster.domain.errors import ClaimHeldError

LEASE_SECONDS: Final = 90.0
RENEW_SECONDS: Final = 20.0


def _process_started(pid: int) -> str | None:
    """Return a stamp that differs between two processes of the same pid, None if there is no such process.

    Source: proc(5), field 22 of /proc/<pid>/stat, start time in clock ticks since boot. Elsewhere than on Linux, the
    bare existence of the pid.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"


@lru_cache(maxsize=1)
def _host() -> str:
    # The boot id tells two containers, or one machine before and after a restart, apart.
    boot = Path("/proc/sys/kernel/random/boot_id")
    pid_namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    if boot.exists():
        parts.append(boot.read_text().strip())
    if pid_namespace.exists():
        parts.append(str(pid_namespace.readlink()))
    return "|".join(parts)[:255]


def is_claim_live(claim: ClaimRow) -> bool:
    """Return whether the holder of `claim` may still be at work."""
    if claim.expires_at <= utc_now():
        return False
    if claim.host != _host():
        return True
    return _process_started(claim.pid) == claim.process_started


@dataclass(slots=True)
class Claim:
    """A claim that is held. `is_lost` turns true if another worker took it over (this one was suspended too long)."""

    resource: str
    token: str
    is_lost: bool = False


def try_claim(database: Database, resource: str, *, run_id: str | None = None) -> Claim | None:
    """Take a claim if nobody alive holds it. Idempotent in effect, not in identity: a second call gets None."""
    now = utc_now()
    values: dict[str, Any] = {
        "token": uuid.uuid4().hex,
        "host": _host(),
        "pid": os.getpid(),
        "process_started": _process_started(os.getpid()) or "",
        "run_id": run_id,
        "claimed_at": now,
        "expires_at": now + timedelta(seconds=LEASE_SECONDS),
    }
    try:
        with database.transaction() as session:
            held = session.scalar(select(ClaimRow).where(ClaimRow.resource == resource))
            if held is None:
                session.add(ClaimRow(resource=resource, **values))
            elif is_claim_live(held):
                return None
            else:
                taken = session.execute(
                    update(ClaimRow).where(ClaimRow.resource == resource, ClaimRow.token == held.token).values(**values)
                )
                if cast("CursorResult[Any]", taken).rowcount != 1:
                    return None
    except IntegrityError:  # another process inserted first
        return None
    return Claim(resource, values["token"])


def release_claim(database: Database, claim: Claim) -> None:
    """Give a claim back. Nothing happens if it has been lost."""
    with database.transaction() as session:
        session.execute(delete(ClaimRow).where(ClaimRow.resource == claim.resource, ClaimRow.token == claim.token))


def live_claims(database: Database) -> list[ClaimRow]:
    """Return the claims whose holder may still be at work, by resource."""
    with database.transaction() as session:
        return [row for row in session.scalars(select(ClaimRow).order_by(ClaimRow.resource)) if is_claim_live(row)]


def _renew(database: Database, claim: Claim) -> bool:
    with database.transaction() as session:
        renewed = session.execute(
            update(ClaimRow)
            .where(ClaimRow.resource == claim.resource, ClaimRow.token == claim.token)
            .values(expires_at=utc_now() + timedelta(seconds=LEASE_SECONDS))
        )
        return cast("CursorResult[Any]", renewed).rowcount == 1


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

    After a wait the caller looks again whether there is anything left to do.

    Raises:
        ClaimHeldError: a live worker still holds it after `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    told = False
    while (claim := try_claim(database, resource, run_id=run_id)) is None:
        if time.monotonic() >= deadline:
            raise ClaimHeldError(
                f"{resource} is being worked on by another process; wait for it, or see `data-miner status`"
            )
        if not told and on_wait is not None:
            on_wait(f"{resource} is being worked on by another process; waiting")
            told = True
        time.sleep(min(0.5, max(0.01, deadline - time.monotonic())))
    finished = threading.Event()
    held = claim

    def keep_alive() -> None:
        while not finished.wait(RENEW_SECONDS):
            if not _renew(database, held):
                held.is_lost = True
                return

    renewer = threading.Thread(target=keep_alive, name=f"claim {resource}", daemon=True)
    renewer.start()
    try:
        yield held
    finally:
        finished.set()
        renewer.join(timeout=RENEW_SECONDS)
        release_claim(database, held)
