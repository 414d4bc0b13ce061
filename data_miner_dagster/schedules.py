"""Schedules: work that is triggered by the clock alone."""

import dagster as dg

from data_miner_dagster.housekeeping import prune_history_job
from data_miner_dagster.jobs import JOBS, LIST_SOURCES, forced_ops
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.sensors.states import project_states

daily_pruning = dg.ScheduleDefinition(
    name="daily_pruning",
    job=prune_history_job,
    cron_schedule="43 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes history older than `platform.storage.history_days` from Dagster's storage.",
)


@dg.schedule(
    job=JOBS[LIST_SOURCES],
    cron_schedule="17 */6 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Re-lists every project's sources to find new videos. Skips projects whose file is gone.",
)
def relist_sources(
    context: dg.ScheduleEvaluationContext, platform: PlatformResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """Request one run per project. The run key contains the tick, so evaluating a tick twice requests only one run."""
    known = set(context.instance.get_dynamic_partitions("projects"))
    states = project_states(platform.open())
    names = [state.name for state in states if state.name in known and not state.is_withdrawn]
    if not names:
        return dg.SkipReason("there are no projects whose file is there")
    tick = context.scheduled_execution_time.isoformat()
    return [
        dg.RunRequest(
            run_key=f"relist:{name}:{tick}",
            partition_key=name,
            run_config={"ops": forced_ops(LIST_SOURCES)},
        )
        for name in names
    ]
