"""Settled projects → runs that filter, deduplicate, detect and release."""

import dagster as dg

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.jobs import JOBS
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.resources.run_processes import active_runs
from data_miner_dagster.sensors.in_flight import WORK_TAG, count_runs, keys_in_flight
from data_miner_dagster.sensors.planning import MAX_FAILED_RUNS, plan_dataset
from data_miner_dagster.sensors.states import project_states, video_states


@dg.sensor(
    job=JOBS["build_dataset"],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds the dataset of every project whose videos have settled since its last release.",
)
def settled_projects(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Level-triggered: ready, not built from these inputs, not in flight → ask."""
    opened = platform.open()
    states = project_states(opened)
    busy = keys_in_flight(active_runs(context.instance), "build_dataset", [])
    requests, waiting = [], []
    for state in states:
        refresh = opened.project_config(state.name).refresh
        plan = plan_dataset(
            state,
            video_states(opened, state.name),
            utc_now(),
            wait_for_all=refresh.wait_for_all,
            min_new_videos=refresh.min_new_videos,
            num_released_videos=opened.catalog.num_released_videos(state.name),
        )
        if not plan.is_ready or state.name in busy:
            waiting.append(f"{state.name}: {'at work' if state.name in busy else plan.reason}")
            continue
        work = plan.work_of(state.name)
        if count_runs(context.instance, work, [dg.DagsterRunStatus.SUCCESS]):
            waiting.append(f"{state.name}: released")
            continue
        attempts = count_runs(context.instance, work)
        if attempts >= MAX_FAILED_RUNS:
            waiting.append(f"{state.name}: given up after {attempts} failed runs")
            continue
        context.log.info(f"{state.name}: {plan.reason}")
        requests.append(dg.RunRequest(run_key=f"{work}:{attempts}", partition_key=state.name, tags={WORK_TAG: work}))
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(skip_reason="; ".join(waiting[:10]) or "there are no projects")
