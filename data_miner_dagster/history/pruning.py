"""Remove old runs, ticks and logs from Dagster's storage.

Events that are the state of a partition are kept (partition_state.py).

No planner reads Dagster's history, so all of it may be removed. It is kept for a while for people who want to know why
something happened.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, TickStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import BACKFILL_ID_TAG

from data_miner_dagster.catalog.database import compact_sqlite, free_bytes
from data_miner_dagster.catalog.renewal import note_progress
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.work import BATCH_TAG
from data_miner_dagster.history.backfills import active_backfills
from data_miner_dagster.history.partition_state import delete_run_events, delete_superseded
from data_miner_dagster.history.ticks import count_ticks
from data_miner_dagster.partitions import PROJECTS, VIDEOS
from data_miner_dagster.runs import ACTIVE_STATUSES

LOCATION: Final = "data_miner_dagster"
"""The code location in workspace.yaml. `dagster dev -m` names it after the module that it loads."""
_TAGS_OF_OURS: Final = ("data_miner/", BATCH_TAG)

SKIPPED_TICKS_STAY: Final = timedelta(hours=6)
"""How long ticks without a request are kept. A sensor that runs every 5 s adds 17,280 ticks of 1.3 kB a day."""

_RUNS_A_PAGE: Final = 500
_RUNS_A_TRANSACTION: Final = 20
_OTHER_TICKS: Final = [TickStatus.SUCCESS, TickStatus.FAILURE]
_MIN_FREE_SHARE: Final = 0.2
"""A database is rewritten when this fraction of it, and at least `_MIN_FREE_BYTES`, is free. Dagster reuses
smaller gaps."""
_MIN_FREE_BYTES: Final = 1_000_000
_MAX_BYTES_BESIDE_RUNS: Final = 200_000_000


class _UndoError(Exception):
    """Raised to roll a transaction back."""


@dataclass(frozen=True, slots=True)
class Ours:
    """The assets and jobs of our code location. Other code locations may use the same storage."""

    assets: Collection[dg.AssetKey]
    jobs: Collection[str]

    def has_run(self, run: dg.DagsterRun) -> bool:
        """Return whether a run belongs to our code location, or was executed by this package in its own process."""
        origin = run.remote_job_origin
        if origin is not None:
            return _is_our_location(origin.repository_origin.code_location_origin.location_name)
        return run.job_name in self.jobs or any(tag.startswith(_TAGS_OF_OURS) for tag in run.tags)


@dataclass(frozen=True, slots=True)
class Pruning:
    """The amounts that pruning has removed, or would remove."""

    num_runs: int = 0
    num_events: int = 0  # in SQLite's index of all runs, or in the server's table
    num_ticks: int = 0
    num_leftovers: int = 0  # files and logs of runs that were deleted without them
    num_states: int = 0  # events that are kept as the state of a partition
    freed_bytes: int = 0  # of files
    in_use: tuple[str, ...] = field(default=())  # databases with free space that could not be rewritten

    def line(self, *, would: bool = False) -> str:
        """Return a one-line, human-readable summary."""
        verb, kept, freed = ("would remove", "would keep", "of files") if would else ("removed", "kept", "freed")
        leftovers = f", {counted(self.num_leftovers, 'file')} of deleted runs" if self.num_leftovers else ""
        return (
            f"{verb} {counted(self.num_runs, 'run')} with {counted(self.num_events, 'event')} and their logs, "
            f"{counted(self.num_ticks, 'tick')}{leftovers}; {kept} {counted(self.num_states, 'event')} as the state of "
            f"partitions; {size_text(self.freed_bytes)} {freed}"
        )


def prune_history(
    instance: dg.DagsterInstance,
    ours: Ours,
    older_than: timedelta,
    *,
    now: datetime,
    own_run_id: str | None = None,
) -> Pruning:
    """Remove finished runs of our code location that ended before `now - older_than`, their logs, and old ticks.

    A run is kept if a run in flight is retrying it, if it belongs to an active backfill, or if it is the reason why a
    partition counts as failed. Superseded events, and files of runs that Dagster no longer knows about, are
    removed too. Databases with much free space are rewritten. The call is idempotent: after a kill, the next call
    continues. A run's events are removed first, then its files, and the row of the run last.

    Args:
        instance: Dagster's instance, on SQLite or PostgreSQL.
        ours: the assets and jobs of our code location.
        older_than: how long history is kept.
        now: the current time.
        own_run_id: the id of the run that makes this call, or None if no run makes it. That run does not prevent
            databases from being rewritten.

    Returns:
        The removed amounts.

    Raises:
        sqlite3.DatabaseError: an SQLite file of the storage is damaged.
    """
    before = _stored_bytes(instance)
    run_ids = [run.run_id for run in _old_runs(instance, ours, now - older_than)]
    num_events = num_states = 0
    for start in range(0, len(run_ids), _RUNS_A_TRANSACTION):
        note_progress()
        some = run_ids[start : start + _RUNS_A_TRANSACTION]
        with open_index(instance) as connection:
            for run_id in some:
                num_deleted, num_kept = delete_run_events(connection, run_id)
                num_events, num_states = num_events + num_deleted, num_states + num_kept
        for run_id in some:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            remove_files_of(instance, run_id)
            instance.run_storage.delete_run(run_id)
    while True:
        note_progress()
        with open_index(instance) as connection:
            num_superseded = delete_superseded(connection, ours.assets)
        num_events += num_superseded
        if not num_superseded:
            break
    num_ticks = prune_ticks(instance, older_than, now=now)
    leftovers = list(_leftovers(instance, now - older_than))
    for path in leftovers:
        _remove(path)
    in_use = _rewrite_databases(instance, own_run_id)
    freed = max(0, before - _stored_bytes(instance))
    return Pruning(len(run_ids), num_events, num_ticks, len(leftovers), num_states, freed, in_use)


def prune_ticks(instance: dg.DagsterInstance, older_than: timedelta, *, now: datetime) -> int:
    """Remove ticks of our sensors and schedules that are older than `older_than`, and return their number.

    Ticks without a request are removed after six hours, if that is sooner.
    """
    num_ticks = 0
    for ticks in _old_ticks(instance, older_than, now):
        num_ticks += ticks.count(instance)
        ticks.purge(instance)
    return num_ticks


def would_prune(instance: dg.DagsterInstance, ours: Ours, older_than: timedelta, *, now: datetime) -> Pruning:
    """Return the amounts that `prune_history` would remove. Nothing is changed.

    Superseded events are not counted, nor is the space that rewriting databases would free.
    """
    run_ids = [run.run_id for run in _old_runs(instance, ours, now - older_than)]
    num_events = num_states = 0
    for run_id in run_ids:
        with suppress(_UndoError), open_index(instance) as connection:
            num_deleted, num_kept = delete_run_events(connection, run_id)
            num_events, num_states = num_events + num_deleted, num_states + num_kept
            raise _UndoError
    leftovers = list(_leftovers(instance, now - older_than))
    files = [path for run_id in run_ids for path in _files_of(instance, run_id)]
    num_ticks = sum(ticks.count(instance) for ticks in _old_ticks(instance, older_than, now))
    size = sum(_size(path) for path in (*files, *leftovers))
    return Pruning(len(run_ids), num_events, num_ticks, len(leftovers), num_states, size)


def _is_our_location(name: str) -> bool:
    return name == LOCATION or name.startswith(f"{LOCATION}.")


# --- which runs ---


def _old_runs(instance: dg.DagsterInstance, ours: Ours, before: datetime) -> Iterator[dg.DagsterRun]:
    """Yield our finished runs that ended before `before` and are no longer needed."""
    repeated, attempts, backfills = (
        _repeated_runs(instance),
        _latest_attempts(instance, ours.assets),
        active_backfills(instance),
    )
    finished = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
    cursor = None
    while page := instance.get_run_records(finished, limit=_RUNS_A_PAGE, cursor=cursor):
        for record in page:
            run = record.dagster_run
            ended = record.end_time if record.end_time is not None else record.update_timestamp.timestamp()
            is_needed = (
                run.run_id in repeated
                or (run.run_id in attempts and run.status is dg.DagsterRunStatus.FAILURE)
                or run.tags.get(BACKFILL_ID_TAG) in backfills
            )
            if ended < before.timestamp() and not is_needed and ours.has_run(run):
                yield run
        cursor = page[-1].dagster_run.run_id


def _repeated_runs(instance: dg.DagsterInstance) -> set[str]:
    """Return the ids of the runs that active runs are retrying."""
    active = instance.get_runs(dg.RunsFilter(statuses=list(ACTIVE_STATUSES)))
    return {run_id for run in active for run_id in (run.parent_run_id, run.root_run_id) if run_id is not None}


def _latest_attempts(instance: dg.DagsterInstance, assets: Collection[dg.AssetKey]) -> set[str]:
    """Return the ids of failed runs that were the last to attempt a partition, which therefore counts as failed."""
    storage = cast("Any", instance.event_log_storage)
    known = {key for definition in (VIDEOS, PROJECTS) for key in instance.get_dynamic_partitions(str(definition.name))}
    tried = map(storage.get_latest_asset_partition_materialization_attempts_without_materializations, assets)
    return {run_id for attempts in tried for key, (run_id, _) in attempts.items() if key in known}


# --- ticks ---


@dataclass(frozen=True, slots=True)
class _Ticks:
    """The ticks of a sensor or schedule that have one of `statuses` and precede `before` (seconds since 1970)."""

    state: InstigatorState
    statuses: list[TickStatus]
    before: float

    def count(self, instance: dg.DagsterInstance) -> int:
        with cast("Any", instance.schedule_storage).connect() as connection:
            return count_ticks(connection, self.state.selector_id, self.before, self.statuses)

    def purge(self, instance: dg.DagsterInstance) -> None:
        instance.purge_ticks(self.state.instigator_origin_id, self.state.selector_id, self.before, self.statuses)


def _old_ticks(instance: dg.DagsterInstance, older_than: timedelta, now: datetime) -> list[_Ticks]:
    stays = ((min(older_than, SKIPPED_TICKS_STAY), [TickStatus.SKIPPED]), (older_than, _OTHER_TICKS))
    return [
        _Ticks(state, statuses, (now - stay).timestamp())
        for state in instance.all_instigator_state()
        if _is_our_location(state.origin.repository_origin.code_location_origin.location_name)
        for stay, statuses in stays
    ]


# --- files ---


@contextmanager
def open_index(instance: dg.DagsterInstance) -> Iterator[Any]:
    """Yield a transaction on the events of all runs, in SQLite's index or in the server's table."""
    with cast("Any", instance.event_log_storage).index_connection() as connection:
        if connection.dialect.name == "sqlite":
            yield connection
        else:  # Dagster's own connections to a server commit every statement
            with connection.engine.execution_options(isolation_level="READ COMMITTED").begin() as transaction:
                yield transaction


def _run_files(instance: dg.DagsterInstance) -> Path | None:
    """Return the folder that holds an SQLite file of events for each run, or None if the storage is on a server."""
    storage = cast("Any", instance.event_log_storage)
    return Path(storage.path_for_shard("")).parent if hasattr(storage, "path_for_shard") else None


def _local_logs(instance: dg.DagsterInstance) -> Path | None:
    base = getattr(instance.compute_log_manager, "_base_dir", None)
    return Path(base) if isinstance(base, str) else None


def _files_of(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    events, logs = _run_files(instance), _local_logs(instance)
    found = sorted(events.glob(f"{run_id}.db*")) if events is not None else []
    return [*found, *([logs / run_id] if logs is not None and (logs / run_id).is_dir() else [])]


def remove_files_of(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the logs of a run, and the SQLite file of its events if there is one."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    for path in _files_of(instance, run_id):
        _remove(path)


def _leftovers(instance: dg.DagsterInstance, before: datetime) -> Iterator[Path]:
    """Yield old files and logs of runs that Dagster has deleted. It does not delete the files of a deleted run."""
    events, logs = _run_files(instance), _local_logs(instance)
    known = set(instance.get_run_ids())
    for path in (*(events.glob("*-*.db*") if events else ()), *(logs.glob("*-*") if logs else ())):
        run_id = path.name.partition(".")[0]
        if _is_run_id(run_id) and run_id not in known and path.stat().st_mtime < before.timestamp():
            yield path


def _is_run_id(name: str) -> bool:
    return len(name) == 36 and name.count("-") == 4 and set(name) <= set("0123456789abcdef-")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    """Return the size of a file or folder in bytes. Files that disappear during the call count as zero."""
    size = 0
    for parent, _, names in os.walk(path) if path.is_dir() else ((path.parent, (), (path.name,)),):
        for name in names:
            try:
                size += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue
    return size


def _stored_bytes(instance: dg.DagsterInstance) -> int:
    folders = {path for path in (_run_files(instance), _local_logs(instance)) if path is not None}
    return sum(map(_size, (*folders, *(path for path in _databases(instance) if path.parent not in folders))))


def _databases(instance: dg.DagsterInstance) -> list[Path]:
    """Return the SQLite files of the storage that are shared by all runs."""
    storages = cast("Any", (instance.run_storage, instance.event_log_storage, instance.schedule_storage))
    runs, events, schedules = storages
    found = set()
    for connect in (runs.connect, events.index_connection, schedules.connect):
        with connect() as connection:
            url = connection.engine.url
        if url.get_backend_name() == "sqlite" and url.database:
            found.add(Path(url.database))
    return sorted(found)


def _rewrite_databases(instance: dg.DagsterInstance, own_run_id: str | None) -> tuple[str, ...]:
    """Rewrite SQLite files with much free space, to release that space. Return the paths of those that were in use.

    A file larger than 200 MB counts as in use while other runs are in flight, because their events would have to wait
    for too long.
    """
    active = {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=list(ACTIVE_STATUSES)))} - {own_run_id}
    in_use = []
    for path in _databases(instance):
        size, free = path.stat().st_size, free_bytes(path)
        if free < max(_MIN_FREE_BYTES, _MIN_FREE_SHARE * size):
            continue
        if (active and size > _MAX_BYTES_BESIDE_RUNS) or not compact_sqlite(path):
            in_use.append(str(path))
    return tuple(in_use)
