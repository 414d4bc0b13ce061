"""Turn settled projects into runs that filter, deduplicate, detect and release: one run a stage, in order."""

from functools import partial

import dagster as dg

from data_miner_dagster.catalog.releases import num_released_videos
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.jobs import JOBS, PROJECT_JOBS
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.runs import active_runs
from data_miner_dagster.sensors.in_flight import WORK_TAG, count_runs, keys_in_flight, why_it_waits
from data_miner_dagster.sensors.planning import DatasetPlan, ProjectState, plan_dataset
from data_miner_dagster.sensors.states import project_states, video_states


def _plan_of(platform: Platform, state: ProjectState) -> DatasetPlan:
    refresh = platform.project_config(state.name).refresh
    return plan_dataset(
        state,
        video_states(platform, state.name),
        utc_now(),
        wait_for_all=refresh.wait_for_all,
        min_new_videos=refresh.min_new_videos,
        num_released_videos=num_released_videos(platform.database, state.name),
    )


def _request_or_reason(
    context: dg.SensorEvaluationContext, platform: Platform, state: ProjectState, *, is_busy: bool
) -> dg.RunRequest | str:
    """Return the run to request, or why there is nothing to request."""
    plan = _plan_of(platform, state)
    if not plan.is_ready or is_busy:
        return "at work" if is_busy else plan.reason
    for job in PROJECT_JOBS:
        work = plan.work_of(state.name, job)
        if count_runs(context.instance, work, [dg.DagsterRunStatus.SUCCESS]):
            continue
        if (waiting := why_it_waits(context.instance, work, platform.config.downloading)) is not None:
            return f"{job}: {waiting}"
        attempts = count_runs(context.instance, work)
        context.log.info(f"{state.name}: {job}: {plan.reason}")
        tags = {WORK_TAG: work}
        return dg.RunRequest(run_key=f"{work}:{attempts}", job_name=job, partition_key=state.name, tags=tags)
    return "released"


@dg.sensor(
    jobs=[JOBS[name] for name in PROJECT_JOBS],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the dataset of every project whose videos have all finished or failed since its last release: "
    "one run a stage.",
)
def settled_projects(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Request a run for every project that is ready, not built from these inputs and not in flight."""
    opened = platform.open()
    states = project_states(opened)
    runs = active_runs(context.instance)
    busy = {name for job in PROJECT_JOBS for name in keys_in_flight(runs, job, [])}
    requests, waiting = [], []
    for state in states:
        request: dg.RunRequest | ItemFault | str
        ask = partial(_request_or_reason, context, opened, state, is_busy=state.name in busy)
        try:
            request = attempt_alone("settled_projects", state.name, ask)
        except ConfigError as error:  # in that project's configuration: the others go on
            request = str(error)
            context.log.error(f"{state.name}: {request}")
        if isinstance(request, ItemFault):
            request = request.line
            context.log.error(f"{state.name}: {request}")
        if isinstance(request, str):
            waiting.append(f"{state.name}: {request}")
        else:
            requests.append(request)
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(skip_reason="; ".join(waiting[:10]) or "there are no projects")
