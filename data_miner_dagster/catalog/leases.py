"""Leases of runs: which process executes a run, whether the process is alive, and the run's progress.

Belongs here: taking, renewing, judging and removing the rows. Does not belong here: ending a dead run
(runs.py).

All judgements use a single clock, the database's, and durations measured by the holder. A run whose process has not yet
reported gets a provisional lease, which expires like any other. Times from Dagster are never compared with these times.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Table, and_, delete, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.failures import first_line
from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.catalog.renewal import LEASE_SECONDS, held_clock, idle_seconds, note_progress, renewer_of
from data_miner_dagster.catalog.schema import ClaimRow
from data_miner_dagster.catalog.work_tables import RunLeaseRow
from data_miner_dagster.catalog.writers import insert_absent
from data_miner_dagster.domain.errors import DataMinerError, RunEndedError

_LEASES: Final = cast("Table", RunLeaseRow.__table__)
_LEASE: Final = timedelta(seconds=LEASE_SECONDS)
_LONGEST_SECONDS: Final = 1e9
"""The cap on estimates of a run's remaining time, in seconds. A datetime cannot represent arbitrarily late times."""
_NOBODY: Final = ""
"""The host of a provisional lease."""

logger = logging.getLogger(__name__)


class RunState(StrEnum):
    """The state of a run's process, as far as it is known."""

    ALIVE = "alive"
    GONE = "gone"  # the process has certainly ended
    SILENT = "silent"  # the lease has expired, and the process is on another host or has never reported
    HANGING = "hanging"  # the process exists but makes no progress


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """The state of a run, and its lease. `lease` is None if a provisional lease was just created."""

    state: RunState
    lease: RunLeaseRow | None = None


@dataclass(slots=True, eq=False)
class RunLease:
    """A lease that this process holds on a run. Thread-safe."""

    run_id: str
    is_lost: bool = False
    renewed_at: float = field(default_factory=held_clock)
    """The time on `held_clock` at which the last successful renewal began."""
    num_done: int = 0
    """The number of items that the run has processed."""
    num_total: int | None = None
    """The number of items that the run is to process, or None if not known yet."""
    ends_at: float | None = None
    """The time on `held_clock` at which `num_total` is expected to be reached, or None if not known yet."""

    @property
    def shown(self) -> str:
        """The name of the run, for messages."""
        return f"run {self.run_id}"

    def advance(self, num_done: int = 1) -> None:
        """Count processed items, whatever their outcome. The count is written at the next renewal."""
        self.num_done += num_done
        note_progress()

    def tell(self, num_done: int, num_total: int, remaining_seconds: float | None) -> None:
        """Set the run's progress and its remaining time, which is None if it is not known.

        Both are written at the next renewal.
        """
        self.num_done, self.num_total = num_done, num_total
        self.ends_at = None if remaining_seconds is None else held_clock() + min(remaining_seconds, _LONGEST_SECONDS)

    def check(self) -> None:
        """Check that the run may continue.

        Raises:
            RunEndedError: the run was cancelled, or another process ended it.
        """
        if self.is_lost:
            raise RunEndedError(
                "this run was cancelled, or was ended because its process did not respond or made no progress; another "
                "run continues its work (after `data-miner resume` if it was cancelled)"
            )


def take_lease(database: Database, run_id: str, job: str, project: str | None = None) -> RunLease:
    """Take and return the lease of a run that this process is about to execute, even if another process holds it."""
    lease = RunLease(run_id)
    note_progress()
    _take(database, lease, job, project)
    return lease


def _take(database: Database, lease: RunLease, job: str, project: str | None) -> None:
    process = this_process()
    with database.transaction() as session:
        now = database.now(session)
        values = {
            "host": process.host,
            "pid": process.pid,
            "process_started": process.started,
            "job": job,
            "project": project,
            "num_done": 0,
            "started_at": now,
            "progress_at": now,
            "expires_at": now + _LEASE,
        }
        # A process that is waiting for this run may be creating a provisional lease at this moment.
        insert_absent(session, RunLeaseRow, [{"run_id": lease.run_id, **values}], returning="run_id")
        session.execute(
            update(_LEASES).where(_LEASES.c.run_id == lease.run_id).values(num_total=None, ends_at=None, **values)
        )


@contextmanager
def hold_lease(database: Database, run_id: str, job: str, project: str | None = None) -> Iterator[RunLease]:
    """Hold a run's lease while the block executes the run, and remove the lease afterwards."""
    lease = take_lease(database, run_id, job, project)
    renewer = renewer_of(database)
    try:
        renewer.add(lease, _renew)
        yield lease
    finally:
        renewer.remove(lease)
        try:
            with database.transaction() as session:
                session.execute(delete(_LEASES).where(_LEASES.c.run_id == run_id, _is_mine()))
        except (SQLAlchemyError, DataMinerError) as error:
            # Keep the block's own result or error. The lease is no longer renewed, so it will expire.
            logger.warning(
                "the lease of run %s could not be removed (%s); it will expire within %.0f s",
                run_id,
                first_line(error),
                LEASE_SECONDS,
            )


def _is_mine() -> Any:
    mine, lease = this_process(), _LEASES.c
    return and_(lease.host == mine.host, lease.pid == mine.pid, lease.process_started == mine.started)


def _renew(database: Database, leases: Sequence[RunLease]) -> list[RunLease]:
    mine, kept = this_process(), []
    with database.transaction() as session:
        now = database.now(session)
        idle = timedelta(seconds=idle_seconds())
        for lease in leases:
            values = {
                "host": mine.host,
                "pid": mine.pid,
                "process_started": mine.started,
                "num_done": lease.num_done,
                "num_total": lease.num_total,
                "ends_at": None if lease.ends_at is None else now + timedelta(seconds=lease.ends_at - held_clock()),
                "progress_at": now - idle,
                "expires_at": now + _LEASE,
            }
            is_ours = _LEASES.c.run_id == lease.run_id, or_(_is_mine(), _LEASES.c.host == _NOBODY)
            done = session.execute(update(_LEASES).where(*is_ours).values(values))
            if cast("CursorResult[Any]", done).rowcount:
                kept.append(lease)
    return kept


def find_leases(database: Database) -> list[RunLeaseRow]:
    """Return all leases, including expired and provisional ones, in the order in which their runs started."""
    with database.reading() as session:
        return list(session.scalars(select(RunLeaseRow).order_by(RunLeaseRow.started_at, RunLeaseRow.run_id)))


def process_of(lease: RunLeaseRow) -> ProcessIdentity | None:
    """Return the process that holds a lease, or None if the lease is provisional."""
    return None if lease.host == _NOBODY else ProcessIdentity(lease.host, lease.pid, lease.process_started)


def processes_with_claims(database: Database) -> set[ProcessIdentity]:
    """Return the processes that hold a live claim."""
    with database.reading() as session:
        now = database.now(session)
        rows = [row for row in session.scalars(select(ClaimRow)) if is_claim_live(row, now)]
    return {ProcessIdentity(row.host, row.pid, row.process_started) for row in rows}


def judge_leases(database: Database, awaited: Mapping[str, str], *, idle_limit: timedelta) -> dict[str, JudgedRun]:
    """Return the state of every run that has a lease, and of the awaited runs, by run id.

    Awaited runs without a lease get a provisional one. Leases of living processes that could not renew them are
    extended. This function is idempotent, and several processes may call it concurrently.

    Args:
        database: the catalog.
        awaited: {run id: job} for the runs that must have a lease by now. A run without a lease counts as ALIVE until
            its provisional lease has expired, and as SILENT afterwards.
        idle_limit: the time after which a run that has made no progress is HANGING.
    """
    with database.reading() as session:
        rows = session.scalars(select(RunLeaseRow)).all()
        now = database.now(session)
    judged = {row.run_id: JudgedRun(_state(row, now, idle_limit), row) for row in rows}
    missing = {run_id: job for run_id, job in awaited.items() if run_id not in judged}
    postponed = [row for row in rows if judged[row.run_id].state is RunState.ALIVE and _is_out_of_time(row, now)]
    if missing or postponed:
        _write(database, missing, postponed)
    return {**judged, **dict.fromkeys(missing, JudgedRun(RunState.ALIVE))}


def _state(row: RunLeaseRow, now: datetime, idle_limit: timedelta) -> RunState:
    process = process_of(row)
    if process is not None and process.is_gone():
        return RunState.GONE
    is_expired = row.expires_at <= now
    if process is None or (is_expired and not process.is_alive()):
        return RunState.SILENT if is_expired else RunState.ALIVE
    # The holder measured the idle time at its last renewal, so setting a clock afterwards cannot extend it.
    idle = row.expires_at - _LEASE - row.progress_at
    return RunState.HANGING if idle > idle_limit else RunState.ALIVE


def _is_out_of_time(row: RunLeaseRow, now: datetime) -> bool:
    return row.expires_at <= now or row.expires_at > now + 2 * _LEASE


def _write(database: Database, missing: Mapping[str, str], postponed: Sequence[RunLeaseRow]) -> None:
    with database.transaction() as session:
        now = database.now(session)
        for row in postponed:
            # The process is alive but does not renew its lease: it was suspended, or the clock was set. The time since
            # the lease expired does not count as idle. If the clock was set back, the lease's times are set back, too.
            passed = now - row.expires_at if row.expires_at <= now else now + _LEASE - row.expires_at
            session.execute(
                update(_LEASES)
                .where(_LEASES.c.run_id == row.run_id, _LEASES.c.expires_at == row.expires_at)
                .values(expires_at=now + _LEASE, progress_at=row.progress_at + passed)
            )
        provisional = [_provisional(run_id, job, now) for run_id, job in sorted(missing.items())]
        insert_absent(session, RunLeaseRow, provisional, returning="run_id")


def _provisional(run_id: str, job: str, now: datetime) -> dict[str, Any]:
    dates = {"started_at": now, "progress_at": now, "expires_at": now + _LEASE}
    return {"run_id": run_id, "host": _NOBODY, "pid": 0, "process_started": "", "job": job, "num_done": 0, **dates}


def remove_leases(database: Database, run_ids: Collection[str]) -> None:
    """Remove the leases of runs. A process that is still executing one of them notices and stops."""
    if run_ids:
        with database.transaction() as session:
            for some in portions(run_ids):
                session.execute(delete(_LEASES).where(_LEASES.c.run_id.in_(some)))


def remove_provisional_leases(database: Database, run_ids: Collection[str]) -> None:
    """Remove the leases of the given runs whose processes have never reported. Other leases are kept."""
    with database.transaction() as session:
        for some in portions(run_ids):
            session.execute(delete(_LEASES).where(_LEASES.c.run_id.in_(some), _LEASES.c.host == _NOBODY))


def seize_lease(database: Database, judged: JudgedRun) -> bool:
    """Remove the lease of a run in order to end the run. A process still executing it notices and stops.

    Returns:
        Whether the lease was removed. It is kept if the run was judged to be alive, or if a process has since taken it.
        The lease of a SILENT run is also kept if it has since been renewed.
    """
    lease = judged.lease
    if lease is None or judged.state is RunState.ALIVE:
        return False
    as_judged = [
        _LEASES.c.run_id == lease.run_id,
        _LEASES.c.host == lease.host,
        _LEASES.c.pid == lease.pid,
        _LEASES.c.process_started == lease.process_started,
    ]
    if judged.state is RunState.SILENT:
        as_judged.append(_LEASES.c.expires_at == lease.expires_at)
    with database.transaction() as session:
        return bool(cast("CursorResult[Any]", session.execute(delete(_LEASES).where(*as_judged))).rowcount)
