"""End runs whose processes are dead, silent or hanging, on any host, and free their slots and claims.

Dagster notices the death of a run's process only while the code server that started it is alive. It does not notice
after a power failure or when a container is replaced. It never notices if `data-miner run` or `dagster asset
materialize` executes the run in its own process. Such a run stays STARTED, keeps its pool slots and looks like work in
flight. So the process of every run holds a lease in the catalog (catalog/leases.py), and the planners end runs that no
longer have one.
"""

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final

import dagster as dg
from dagster._core.launcher.base import WorkerStatus
from dagster_shared.error import SerializableErrorInfo

from data_miner_dagster.catalog.claims import revoke_claims
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.leases import (
    JudgedRun,
    RunState,
    find_leases,
    judge_leases,
    process_of,
    processes_with_claims,
    remove_leases,
    remove_provisional_leases,
    seize_lease,
)
from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.catalog.renewal import LEASE_SECONDS
from data_miner_dagster.launching.tags import REFUSED_TAG
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra

_EARLIER_PROCESS_TAG: Final = "data_miner/process"
"""The tag by which earlier versions identified a run's process. Retries inherit it from the previous run."""
_LAUNCHED_TAG: Final = ".dagster/grpc_info"
"""Marks every run for which `DefaultRunLauncher` started a process. Such a process executes nothing else."""
SYSTEMATIC_FAULT_TAG: Final = "data_miner/systematic_fault"
"""Marks a run that ended because of a fault of this program. The value is the faulty version."""

ACTIVE_STATUSES: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_FROM_OUTSIDE: Final = "This run has been marked as failed from outside"
"""The beginning of Dagster's message about a run whose process no longer exists."""
_BEGUN: Final = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


def innermost_message(error: SerializableErrorInfo) -> str:
    """Return the message of an error's root cause as a single line, without Dagster's wrapping."""
    while error.cause is not None:
        error = error.cause
    return " ".join(error.message.split())


def failure_line(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return why a run failed: the reason of the first failed step that has one, or else Dagster's message.

    The result is a single line, which is empty if no reason was recorded.
    """
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=kinds)]
    for event in events:
        if event is not None and event.event_type is dg.DagsterEventType.STEP_FAILURE:
            failed = event.step_failure_data
            told = failed.user_failure_data
            line = (told.description if told is not None else None) or (
                innermost_message(failed.error) if failed.error is not None else ""
            )
            if line:
                return " ".join(line.split())
    message = next((" ".join(event.message.split()) for event in events if event is not None and event.message), "")
    return "its process ended without giving a reason" if message.startswith(_FROM_OUTSIDE) else message


def active_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Return all runs that have not ended, including queued ones."""
    return instance.get_runs(dg.RunsFilter(statuses=list(ACTIVE_STATUSES)))


def end_dead_runs(
    instance: dg.DagsterInstance,
    database: Database,
    *,
    is_ours: Callable[[dg.DagsterRun], bool],
    idle_limit: timedelta,
) -> list[str]:
    """End the active runs whose process is dead, silent or hanging, and free their slots and claims. Return their ids.

    A run counts as failed, or as cancelled if cancellation was requested. A run of this program that has started
    without a lease gets 90 s to take one. While its process is still starting, Dagster is responsible
    (`start_timeout_seconds` in dagster.yaml), because starting may take minutes on a busy machine. Leases of finished
    runs are removed. This function is idempotent, and several processes may call it concurrently.

    If the launcher sends runs to other machines, it is queried about runs that are starting, since Dagster does not do
    so. A run whose process has failed is ended, and a run that the launcher does not know also gets 90 s to take a
    lease.

    Args:
        instance: Dagster's instance.
        database: the catalog.
        is_ours: returns whether a run belongs to this program. Only such runs are ended if they have no lease.
        idle_limit: the time without progress after which a process counts as hanging.
    """
    # Leases are read before the runs, so that the list of runs has every run with a lease that is still executing.
    leases = {lease.run_id: lease for lease in find_leases(database)}
    runs = {run.run_id: run for run in active_runs(instance) if run.run_id in leases or is_ours(run)}
    if not runs and not leases:
        return []
    starting = [run for run in runs.values() if run.status is dg.DagsterRunStatus.STARTING]
    unsaid = [run for run in starting if run.run_id not in leases or process_of(leases[run.run_id]) is None]
    lost, failed = _lost_while_starting(instance, database, unsaid)
    awaited = {run.run_id: run.job_name for run in runs.values() if run.status in _BEGUN or run.run_id in lost}
    silent = [runs[run_id] for run_id in awaited if run_id not in leases or process_of(leases[run_id]) is None]
    if earlier := _alive_by_claims(database, silent):
        remove_provisional_leases(database, earlier)
        awaited = {run_id: job for run_id, job in awaited.items() if run_id not in earlier}
    judged = judge_leases(database, awaited, idle_limit=idle_limit)
    _remove_leftovers(instance, database, leases.keys() - runs.keys(), judged)
    # Every run would fail on a broken node, so no run of the stage is launched for a while.
    for run_id, why in failed.items():
        instance.add_run_tags(run_id, {REFUSED_TAG: why})
    ended = [run_id for run_id, why in failed.items() if _end_unstarted(instance, database, run_id, why)]
    for run_id, run in runs.items():
        verdict = judged.get(run_id)
        if verdict is None or verdict.state is RunState.ALIVE or run.status is dg.DagsterRunStatus.QUEUED:
            continue
        # Even an error of Dagster's database may concern one run, whose events are a file of their own.
        if attempt_extra("end_dead_runs", run_id, partial(_end, instance, database, run, verdict)) is True:
            ended.append(run_id)
    return ended


def _lost_while_starting(
    instance: dg.DagsterInstance, database: Database, starting: Sequence[dg.DagsterRun]
) -> tuple[set[str], dict[str, str]]:
    """Return the ids of starting runs that the launcher does not know, and why other starting runs failed, by id.

    Both are empty for Dagster's default launcher, and for one that does not support health checks. Any other run that
    the launcher knows loses the provisional lease that an earlier call gave it.
    """
    unknown: set[str] = set()
    failed: dict[str, str] = {}
    if not starting or not _is_launched_elsewhere(instance):
        return unknown, failed
    for run in starting:
        health = attempt_extra("end_dead_runs", run.run_id, partial(instance.run_launcher.check_run_worker_health, run))
        if isinstance(health, ItemFault) or health.status is WorkerStatus.UNKNOWN:
            continue
        if health.status is WorkerStatus.NOT_FOUND:
            unknown.add(run.run_id)
        elif health.status is WorkerStatus.FAILED:
            failed[run.run_id] = f"the run failed while it was starting: {health.msg or 'the launcher gave no reason'}"
        else:
            # The run may have a lease of 90 s from an earlier call, when the launcher did not know it. The lease is
            # removed unless the process of the run has taken it over.
            remove_provisional_leases(database, [run.run_id])
    return unknown, failed


def _is_launched_elsewhere(instance: dg.DagsterInstance) -> bool:
    launcher = instance.run_launcher
    return not isinstance(launcher, dg.DefaultRunLauncher) and launcher.supports_check_run_worker_health


def _end_unstarted(instance: dg.DagsterInstance, database: Database, run_id: str, why: str) -> bool:
    """Fail a run whose process has never reported. Return False if the run has started or ended in the meantime."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is not dg.DagsterRunStatus.STARTING:
        return False
    instance.report_run_failed(run, why)
    instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    remove_leases(database, [run_id])
    return True


def _alive_by_claims(database: Database, runs: Sequence[dg.DagsterRun]) -> set[str]:
    """Return the ids of those `runs` whose process holds a claim and is from an earlier version.

    Earlier versions had no leases.
    """
    processes = {run.run_id: run.tags[_EARLIER_PROCESS_TAG] for run in runs if _EARLIER_PROCESS_TAG in run.tags}
    if not processes:
        return set()
    working = {str(process) for process in processes_with_claims(database)}
    return {run_id for run_id, process in processes.items() if process in working}


def _remove_leftovers(
    instance: dg.DagsterInstance, database: Database, inactive: Collection[str], judged: Mapping[str, JudgedRun]
) -> None:
    """Remove the leases of `inactive` runs and revoke their claims, unless the process is alive and the run unfinished.

    Runs of another Dagster instance whose process is alive are not touched.
    """
    living = {run_id for run_id in inactive if run_id in judged and judged[run_id].state is RunState.ALIVE}
    over = set(inactive) - living
    if living:
        known = instance.get_runs(dg.RunsFilter(run_ids=sorted(living)))  # leases of another instance's runs stay
        over |= {run.run_id for run in known if run.is_finished}
    for run_id in sorted(over):
        revoke_claims(database, run_id)
    remove_leases(database, over)


def _end(instance: dg.DagsterInstance, database: Database, run: dg.DagsterRun, judged: JudgedRun) -> bool:
    # The process may have finished the run just before it ended, so check again before failing the run.
    current = instance.get_run_by_id(run.run_id)
    if current is None or current.is_finished or not seize_lease(database, judged):
        return False
    revoke_claims(database, run.run_id)  # if the process continues, it can publish nothing more
    process = process_of(judged.lease) if judged.lease is not None else None
    if judged.state is RunState.HANGING and process is not None:
        attempt_extra("end_dead_runs", run.run_id, partial(_stop_process, instance, current, process))
    if current.status is dg.DagsterRunStatus.CANCELING:  # a person has requested this
        instance.report_run_canceled(current, _reason(process, judged.state))
    else:
        instance.report_run_failed(current, _reason(process, judged.state))
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return True


def _reason(process: ProcessIdentity | None, state: RunState) -> str:
    if process is None:
        return f"the run's process has not reported for {LEASE_SECONDS:.0f} s"
    where = f"the run's process ({process.pid} on {process.host.partition('|')[0]})"
    if state is RunState.GONE:
        return f"{where} has died"
    if state is RunState.HANGING:
        return f"{where} has made no progress for longer than platform.runs.max_idle_seconds allows"
    return f"{where} has not reported for {LEASE_SECONDS:.0f} s"


def _stop_process(instance: dg.DagsterInstance, run: dg.DagsterRun, process: ProcessIdentity) -> None:
    if _LAUNCHED_TAG not in run.tags:
        if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
            instance.run_launcher.terminate(run.run_id)
    elif process.is_alive() and process != this_process():
        os.kill(process.pid, signal.SIGKILL)  # a hanging process may ignore milder signals


def end_unstarted_runs(instance: dg.DagsterInstance, database: Database) -> list[str]:
    """Fail launched runs whose process has never reported, and return their ids.

    Call this only while nothing launches runs. Without this call, such runs would occupy their pools until their start
    times out. With any launcher other than Dagster's default one, nothing is done, since such runs may still start at
    any moment. `end_dead_runs` handles them.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    known = {lease.run_id for lease in find_leases(database) if process_of(lease) is not None}
    starting = [run for run in active_runs(instance) if run.status is dg.DagsterRunStatus.STARTING]
    cut_off = [run.run_id for run in starting if run.run_id not in known]
    return [
        run_id
        for run_id in cut_off
        if _end_unstarted(instance, database, run_id, "the run was interrupted while it was starting")
    ]
