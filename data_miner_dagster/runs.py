"""Record which process executes a run, and end runs whose process is gone.

Dagster notices the death of a run's process only while the code server that started it is alive. It does not notice
after a power cut, and never for a run that `data-miner run` or `dagster asset materialize` executes in process. Such a
run stays STARTED, keeps its pool slots and looks like work in flight. So every run carries the identity of its process,
and the planners of work end the runs whose process is gone.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.operations.item_faults import attempt_alone

PROCESS_TAG: Final = "data_miner/process"
SYSTEMATIC_FAULT_TAG: Final = "data_miner/systematic_fault"
"""Tag on a run that a fault of this program ended; its value is the version at fault."""

ACTIVE_STATUSES: Final = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


def process_tags() -> dict[str, str]:
    """Return the tag that names the calling process."""
    return {PROCESS_TAG: str(this_process())}


def active_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Return the runs that are queued, starting, running or being cancelled."""
    return instance.get_runs(dg.RunsFilter(statuses=list(ACTIVE_STATUSES)))


def _is_gone(process: str) -> bool:
    try:
        return ProcessIdentity.parse(process).is_gone()
    except ValueError:
        return False  # not a tag of ours: nothing is known about that process


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail the active runs whose process on this host is gone and free their pool slots; return their ids.

    Idempotent, and safe when several processes do it at once.
    """
    dead = []
    for run in active_runs(instance):
        if attempt_alone("end_dead_runs", run.run_id, partial(_end_if_dead, instance, run)) is True:
            dead.append(run.run_id)
    return dead


def end_unstarted_runs(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs that were launched and whose process has never said who it is; return their ids.

    For who knows that nothing launches runs at the moment: they would count as starting, and hold their pools, until
    run monitoring has waited `start_timeout_seconds` for them.
    """
    ended = []
    for run in active_runs(instance):
        if run.status is dg.DagsterRunStatus.STARTING and PROCESS_TAG not in run.tags:
            instance.report_run_failed(run, "it was cut off while it started")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            ended.append(run.run_id)
    return ended


def _end_if_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    process = run.tags.get(PROCESS_TAG)
    if process is None or run.status is dg.DagsterRunStatus.QUEUED or not _is_gone(process):
        return False
    # The process may have finished the run just before it ended: look again before calling the run dead.
    current = instance.get_run_by_id(run.run_id)
    if current is None or current.is_finished:
        return False
    instance.report_run_failed(current, f"its process ({process.partition('@')[0]}) is gone")
    instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return True
