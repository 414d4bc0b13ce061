"""Turn wanted videos into partitions and range runs that download, extract and embed them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.upkeep import give_up, reset_orphans
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.jobs import JOBS, VIDEO_JOBS, is_ours
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import VIDEOS, add_partitions, keys_between
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.runs import active_runs, end_dead_runs
from data_miner_dagster.sensors.in_flight import (
    WORK_TAG,
    count_runs,
    failures_of,
    keys_in_flight,
    num_ended_by_this_version,
)
from data_miner_dagster.sensors.planning import (
    MAX_FAILED_RUNS,
    MAX_KEYS_PER_RUN,
    StageWork,
    next_try_at,
    plan_stage_ranges,
    plan_video_work,
)
from data_miner_dagster.sensors.states import video_states

MAX_RUNS_PER_TICK: Final = 12
MAX_RUNS_AT_ONCE: Final = 24
"""Limit of queued and active runs per job, so that downloads never delay extraction. A listing of 100,000 videos waits
in the catalog, where it can be changed, and not in the run queue, where it would block other projects' runs."""


def _request_of(
    context: dg.SensorEvaluationContext,
    platform: Platform,
    work: StageWork,
    keys: Sequence[str],
    tags: Mapping[str, str],
) -> dg.RunRequest | None:
    """Return the run to request, or None if the range has to wait.

    After too many failed runs, marks the wanted videos of the range as failed until the retry date. If a fault of this
    program ended the runs, the videos keep their status.
    """
    identity = fingerprint_of({"job": work.job, "keys": keys})
    by_faults = num_ended_by_this_version(context.instance, identity)
    if by_faults >= MAX_FAILED_RUNS:
        context.log.error(
            f"{work.job}: {by_faults} runs at {len(keys)} videos were ended by a fault of this program; "
            "they are asked for again when another version is installed"
        )
        return None
    num_failed, last_failed_at = failures_of(context.instance, identity)
    due = next_try_at(num_failed, last_failed_at, platform.config.downloading)
    if due is not None and due > utc_now():
        lost = [key for key in keys if key in set(work.wanted)]
        give_up(platform.database, lost, f"{num_failed} runs of {work.job} died on its batch", retry_after=due)
        context.log.error(
            f"{work.job}: {num_failed} runs at {len(keys)} videos failed; "
            f"they are tried again from {due:%Y-%m-%d %H:%M} UTC"
        )
        return None
    attempt = count_runs(context.instance, identity)
    return dg.RunRequest(run_key=f"{identity}:{attempt}", job_name=work.job, tags={WORK_TAG: identity, **tags})


@dg.sensor(
    jobs=[JOBS[name] for name in VIDEO_JOBS],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Downloads, extracts and embeds wanted videos in partition-range runs, and releases work held by dead "
    "processes.",
)
def wanted_videos(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
    """Request runs for videos that a project wants and that are neither done nor in flight."""
    opened = platform.open()
    if ended := end_dead_runs(context.instance, opened.database, is_ours=is_ours, idle_limit=opened.run_idle_limit):
        context.log.warning(f"ended runs whose process is gone or hangs: {', '.join(ended)}")
    freed = reset_orphans(opened.database)
    if freed:
        context.log.warning(
            f"the worker of {len(freed)} videos or projects is gone; they are free again: {', '.join(freed[:5])}"
        )
    states = video_states(opened)
    num_added = add_partitions(context.instance, VIDEOS, [state.key for state in states])
    ordered = context.instance.get_dynamic_partitions(VIDEOS.name or "")
    runs = active_runs(context.instance)
    requests: list[dg.RunRequest] = []
    faulty: list[str] = []  # one line for each range that could not be requested
    for work in plan_video_work(states, utc_now()):
        busy = keys_in_flight(runs, work.job, ordered)
        room = max(0, MAX_RUNS_AT_ONCE - sum(run.job_name == work.job for run in runs))
        max_ranges = min(room, MAX_RUNS_PER_TICK - len(requests))
        ranges = plan_stage_ranges(work, ordered, busy, max_keys=MAX_KEYS_PER_RUN, max_ranges=max_ranges)
        for keys in ranges:
            ask = partial(_request_of, context, opened, work, keys_between(ordered, keys.start, keys.end), keys.tags)
            request = attempt_alone("wanted_videos", f"{work.job} from {keys.start}", ask)
            if isinstance(request, ItemFault):
                context.log.error(f"{work.job}: {keys.num_keys} videos from {keys.start}: {request.line}")
                faulty.append(request.line)
            elif request is not None:
                requests.append(request)
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(
        skip_reason=f"{len(states)} videos wanted, {num_added} new partitions, {len(runs)} runs in flight"
        + (f"; {len(faulty)} ranges could not be asked for: {faulty[0]}" if faulty else "")
    )
