"""Clean up runs whose process has died, and batches that finished runs have left open.

Ending a batch makes its unfinished work available again, but holds that work if the run was cancelled. Belongs here:
finding out from Dagster how a run ended. Does not belong here: checking whether a process is alive (runs.py), or
deciding what a death means for the items (catalog/deaths.py).
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final

import dagster as dg

from data_miner_dagster.assets.outcomes import MAX_RETRIES_TAG, NO_RETRIES, OUTAGE_KIND
from data_miner_dagster.catalog.batches import OpenBatch, end_batch, items_of, open_batches
from data_miner_dagster.catalog.holds import CANCELLED, PAUSED, hold_items
from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.upkeep import reset_orphans
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import (
    BATCH_TAGS,
    VIDEO_STAGES,
    Failure,
    FailureKind,
    FailureScope,
    WorkStage,
    batch_in,
)
from data_miner_dagster.jobs import is_ours
from data_miner_dagster.launching.tags import REFUSED_TAG
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.runs import active_runs, end_dead_runs, innermost_message

_START_SECONDS: Final = 60.0
"""The time in seconds after which a batch without a run in Dagster counts as never launched."""


def end_lost_work(get_instance: Callable[[], dg.DagsterInstance], platform: Platform) -> list[str]:
    """End dead runs and the batches that no run will finish, and return one line for each.

    Batches whose runs succeeded get no line. If no work is in progress, only the catalog is read.
    """
    database = platform.database
    batches = open_batches(database)
    if not batches and not find_leases(database):
        return []
    instance = get_instance()
    dead = end_dead_runs(instance, database, is_ours=is_ours, idle_limit=platform.run_idle_limit)
    lines = [f"ended run {run_id}, whose process could not start, has died or hangs" for run_id in dead]
    active = active_runs(instance)
    at_work = {run.run_id for run in active} | {batch_in(run.tags) for run in active}
    for batch in batches:
        if batch.run_id in at_work or (batch.run_id is None and str(batch.id) in at_work):
            continue
        if (line := _end_if_over(instance, platform, batch)) is not None:
            lines.append(line)
    if lines:
        reset_orphans(database)
    return lines


def _run_of(instance: dg.DagsterInstance, batch: OpenBatch) -> dg.DagsterRun | None:
    if batch.run_id is not None:
        return instance.get_run_by_id(batch.run_id)
    return run_of_batch(instance, batch.id)


def run_of_batch(instance: dg.DagsterInstance, batch_id: int) -> dg.DagsterRun | None:
    """Return the run that was requested for a batch, even if it has not started, or None if there is no such run."""
    for name in BATCH_TAGS:
        if runs := instance.get_runs(dg.RunsFilter(tags={name: str(batch_id)}), limit=1):
            return runs[0]
    return None


def _end_if_over(instance: dg.DagsterInstance, platform: Platform, batch: OpenBatch) -> str | None:
    """End a batch that no run is working on any more.

    Return one line if its work may be unfinished. Return None if its run succeeded, is still active or may yet start.
    """
    run = _run_of(instance, batch)
    what = f"batch {batch.id} of {batch.stage.value.lower()}"
    if run is None:
        if batch.created_at > utc_now() - timedelta(seconds=_START_SECONDS):
            return None
        end_batch(platform.database, batch.id, "Dagster has no run for this batch")
        return f"{what}: Dagster has no run for this batch; its work is requested again"
    if not run.is_finished:
        return None
    if run.status is dg.DagsterRunStatus.CANCELED:
        return _hold_cancelled(platform, batch, what)
    if run.status is dg.DagsterRunStatus.SUCCESS:
        # The catalog already records which videos are done.
        done = () if batch.stage in VIDEO_STAGES else items_of(platform.database, batch.id)
        end_batch(platform.database, batch.id, "its run ended", done=done)
        return None
    failure = attempt_extra("lost_work", f"run {run.run_id}", partial(_failure_told_by, instance, run, batch.stage))
    if isinstance(failure, ItemFault):
        instance.get_run_by_id(run.run_id)  # raises unless only the events of this run cannot be read
    elif failure is not None:
        end_batch(platform.database, batch.id, failure.message, failure=failure)
        return f"{what}: {failure.message}"
    if (refusal := run.tags.get(REFUSED_TAG)) is not None:  # an error that affects every run of the stage
        failure = Failure(FailureKind.OTHER_OUTAGE, refusal, FailureScope.STAGE, run.run_id)
        end_batch(platform.database, batch.id, refusal, failure=failure)
        return f"{what}: {refusal}"
    has_begun = batch.run_id is not None  # otherwise the run could not be started, and no work was done
    # If a run that a person started was killed, that person most likely killed it, so no item is suspected.
    is_planned = run.tags.get(MAX_RETRIES_TAG) == NO_RETRIES
    reason = "its run died" if has_begun else "its run did not start"
    end_batch(platform.database, batch.id, reason, died=has_begun and is_planned)
    return f"{what}: {reason}; the unfinished work is requested again when it is due"


def _failure_told_by(instance: dg.DagsterInstance, run: dg.DagsterRun, stage: WorkStage) -> Failure | None:
    """Return the failure reported by the events of a failed run, or None if they report none.

    For stages that work on videos, only a failure that this program described counts.

    The events are the only record of a failure if the catalog was unreachable, or if a check of the result failed.
    """
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        step = entry.dagster_event.step_failure_data if entry.dagster_event is not None else None
        if step is None:
            continue
        told = step.user_failure_data
        kind = None if told is None else told.metadata.get(OUTAGE_KIND)
        line = (
            (told.description if told is not None else None)
            or (innermost_message(step.error) if step.error else "")
            or "failed"
        )
        if kind is not None:
            return Failure(str(kind.value), line, FailureScope.STAGE, run.run_id)
        if told is not None or stage not in VIDEO_STAGES:
            scope = FailureScope.BATCH if stage in VIDEO_STAGES else FailureScope.ITEM
            return Failure(FailureKind.FAILED, " ".join(line.split()), scope, run.run_id)
    return None


def _hold_cancelled(platform: Platform, batch: OpenBatch, what: str) -> str:
    undone = end_batch(platform.database, batch.id, CANCELLED)
    if batch.reason == PAUSED:
        return f"{what}: its run was cancelled by `data-miner pause`; run `data-miner resume` to continue its work"
    if batch.stage in VIDEO_STAGES:
        hold_items(platform.database, stage=batch.stage, video_keys=undone, reason=CANCELLED)
    else:
        for project in undone:
            hold_items(platform.database, project=project, stage=batch.stage, reason=CANCELLED)
    return (
        f"{what}: its run was cancelled; {counted(len(undone), 'item is', 'items are')} held until you run "
        "`data-miner resume`"
    )
