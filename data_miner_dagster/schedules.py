"""Schedules: work that is triggered only by the clock."""

from datetime import timedelta
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.batches import take_project_batch
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.history.pruning import prune_ticks
from data_miner_dagster.housekeeping import PRUNE_HISTORY, prune_history_job
from data_miner_dagster.jobs import JOBS, LIST_SOURCES
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.sensors.requests import request_of
from data_miner_dagster.sensors.states import project_states

_PRUNING_INTERVAL: Final = timedelta(days=1)


@dg.schedule(
    job=prune_history_job,
    cron_schedule="43 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes old ticks every hour, and once a day requests a run that removes old history.",
)
def housekeeping(context: dg.ScheduleEvaluationContext, platform: PlatformResource) -> dg.RunRequest | dg.SkipReason:
    """Remove old ticks, and request a run of `prune_history` once a day if any run is older than a day.

    The schedule is evaluated every hour, since a machine may be off at night. If `platform.storage.history_days` is
    null, no tick is removed and no run is requested.
    """
    now = context.scheduled_execution_time
    days = platform.open().config.storage.history_days
    if days is None:
        return dg.SkipReason("history is not removed, because platform.storage.history_days is null")
    num_ticks = prune_ticks(context.instance, timedelta(days=days), now=now)
    a_day_ago = now - _PRUNING_INTERVAL
    is_done = context.instance.get_runs_count(dg.RunsFilter(job_name=PRUNE_HISTORY, created_after=a_day_ago))
    has_work = context.instance.get_run_ids(dg.RunsFilter(created_before=a_day_ago), limit=1)
    if is_done or not has_work:
        return dg.SkipReason(f"removed {counted(num_ticks, 'old tick')}")
    return dg.RunRequest(run_key=f"{PRUNE_HISTORY}:{now.isoformat()}")


@dg.schedule(
    job=JOBS[LIST_SOURCES],
    cron_schedule="17 */6 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Lists every project's sources again to find new videos. Projects whose file was deleted are left out.",
)
def relist_sources(_context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    """Request a run for each project whose sources can be listed again now.

    A project is left out if it is held or being listed, or if its project file was removed. So is a project that has
    not been listed with its current settings, since the sensor requests that listing. No run is requested while
    sourcing is closed.
    """
    opened = PlatformResource().open()
    names = [state.name for state in project_states(opened) if state.is_sourced and not state.is_withdrawn]
    batches = [take_project_batch(opened.database, WorkStage.SOURCING, name) for name in names]
    requests = [request_of(batch, batch.items, force=True) for batch in batches if batch is not None]
    return requests or dg.SkipReason(
        "no project can be listed again now: each is held, is being listed, has no file or is waiting for its first "
        "listing, or sourcing is closed"
    )
