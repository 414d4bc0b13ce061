"""Schedules: what happens by the clock alone."""

import dagster as dg

from data_miner_dagster.jobs import JOBS
from data_miner_dagster.resources.platform import PlatformResource


@dg.schedule(
    job=JOBS["list_sources"],
    cron_schedule="17 */6 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Lists every project's sources again, for what is new at their addresses.",
)
def relist_sources(
    context: dg.ScheduleEvaluationContext, platform: PlatformResource
) -> list[dg.RunRequest] | dg.SkipReason:
    """One run a project, keyed by the tick: a tick evaluated twice asks once."""
    known = set(context.instance.get_dynamic_partitions("projects"))
    names = [row.name for row in platform.open().catalog.projects() if row.name in known]
    if not names:
        return dg.SkipReason("there are no projects")
    tick = context.scheduled_execution_time.isoformat()
    return [
        dg.RunRequest(
            run_key=f"relist:{name}:{tick}",
            partition_key=name,
            run_config={"ops": {"project_videos": {"config": {"force": True}}}},
        )
        for name in names
    ]
