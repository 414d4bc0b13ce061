"""Perform the runs that a person requests: submit them to a running daemon, or execute them in this process.

Belongs here: submitting requests to Dagster. Does not belong here: choosing the work (backfill.py), or the sensors'
requests.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from data_miner_dagster.catalog.batches import MAX_ITEMS, end_batch, take_batch
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.work import BATCH_TAG, VIDEO_STAGES, WorkStage

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.remote_representation.code_location import CodeLocation
    from dagster._core.workspace.context import BaseWorkspaceRequestContext

    from data_miner_dagster.operations.platform import Platform

_BEATS_WITHIN_SECONDS: Final = 90.0
"""The daemon counts as running if its last heartbeat is less than this many seconds old. It sends one every 30 s."""
_QUEUE_DAEMON: Final = "QUEUED_RUN_COORDINATOR"


@dataclass(frozen=True, slots=True)
class WantedRun:
    """A requested run of one stage."""

    stage: WorkStage
    items: tuple[str, ...]  # video keys, or the name of one project
    force: bool = False  # whether to recreate current results, too


def runs_of_videos(stage: WorkStage, video_keys: Sequence[str], *, force: bool) -> list[WantedRun]:
    """Return runs for a list of videos, with at most 25 videos each."""
    starts = range(0, len(video_keys), MAX_ITEMS)
    return [WantedRun(stage, tuple(video_keys[start : start + MAX_ITEMS]), force) for start in starts]


def do_runs(platform: "Platform", project: str, runs: Sequence[WantedRun]) -> Iterator[str]:
    """Submit runs for a project to a running daemon, or execute them here if there is none; yield a line for each.

    Each run is submitted or executed only when its line is read.

    Raises:
        DataMinerError: a run in this process failed as a whole, or its result did not pass a check. The remaining runs
            are not executed.
    """
    from data_miner_dagster.deployment import open_instance

    with open_instance(platform) as instance:
        if not has_daemon(instance):
            yield from _do_here(platform, instance, project, runs)
            return
        with open_workspace(instance) as workspace:
            for number, run in enumerate(runs, start=1):
                run_id = ask_for(platform, workspace, project, run)
                yield f"run {number} of {len(runs)}: {_what(run)}, queued in Dagster as run {run_id[:8]}"


def has_daemon(instance: "dg.DagsterInstance") -> bool:
    """Return whether the daemon that takes runs from the queue has sent a heartbeat in the last 90 s."""
    beat = instance.get_daemon_heartbeats().get(_QUEUE_DAEMON)
    return beat is not None and time.time() - beat.timestamp < _BEATS_WITHIN_SECONDS


def _batch_of(platform: "Platform", project: str, run: WantedRun) -> int | None:
    """Mark the due videos of a run as in flight, so that nothing else requests them; return the id of their batch.

    Return None if none of the run's videos is due, or if the stage processes a project. A project's stage gets no
    batch, so that no failure is recorded if it is requested too early.
    """
    if run.stage not in VIDEO_STAGES:
        return None
    batch = take_batch(
        platform.database,
        run.stage,
        keys=run.items,
        project=project,
        max_items=len(run.items),
        must_be_full_until_seconds=0,
    )
    return batch.id if batch is not None else None


def _config_of(run: WantedRun, batch_id: int | None) -> dict[str, object]:
    """Return the configuration of a run's op."""
    if run.stage in VIDEO_STAGES:
        return {"batch": batch_id, "keys": list(run.items), "force": run.force}
    return {"force": run.force}


def _tags_of(run: WantedRun, project: str, batch_id: int | None) -> dict[str, str]:
    from data_miner_dagster.assets.outcomes import MAX_RETRIES_TAG, NO_RETRIES
    from data_miner_dagster.partitions import PARTITION_TAG
    from data_miner_dagster.sensors.requests import PROJECTS_TAG, VIDEOS_TAG

    tags = {MAX_RETRIES_TAG: NO_RETRIES, PROJECTS_TAG: project}
    tags |= {BATCH_TAG: str(batch_id)} if batch_id is not None else {}
    return tags | ({VIDEOS_TAG: str(len(run.items))} if run.stage in VIDEO_STAGES else {PARTITION_TAG: project})


def _what(run: WantedRun) -> str:
    return counted(len(run.items), "video") if run.stage in VIDEO_STAGES else f"project {run.items[0]}"


def _do_here(
    platform: "Platform", instance: "dg.DagsterInstance", project: str, runs: Sequence[WantedRun]
) -> Iterator[str]:
    from data_miner_dagster.cli.in_process import InProcessRunner
    from data_miner_dagster.cli.interrupts import ending_on_interrupt
    from data_miner_dagster.jobs import JOB_BY_STAGE
    from data_miner_dagster.partitions import PROJECTS, VIDEOS, add_partitions

    add_partitions(instance, PROJECTS, [project])
    runner = InProcessRunner(platform, instance, project)
    with ending_on_interrupt():
        for number, run in enumerate(runs, start=1):
            is_of_videos = run.stage in VIDEO_STAGES
            if is_of_videos:
                add_partitions(instance, VIDEOS, run.items)
            batch_id, num_before = _batch_of(platform, project, run), runner.num_done
            failure = runner.execute(
                JOB_BY_STAGE[run.stage],
                partition_key=None if is_of_videos else project,
                tags=_tags_of(run, project, batch_id),
                config=_config_of(run, batch_id),
            )
            if batch_id is not None:
                end_batch(platform.database, batch_id, "finished" if failure is None else str(failure))
            if failure is not None:
                raise failure
            yield (
                f"run {number} of {len(runs)}: {_what(run)}, "
                f"{counted(runner.num_done - num_before, 'result')} recreated"
            )


@dataclass(frozen=True, slots=True)
class Workspace:
    """The Dagster instance, its request context, and the loaded code location that has the jobs to queue."""

    instance: "dg.DagsterInstance"
    context: "BaseWorkspaceRequestContext"
    location: "CodeLocation"


@contextmanager
def open_workspace(instance: "dg.DagsterInstance") -> Iterator[Workspace]:
    """Load the code location in a separate process, and yield it with the instance and its request context."""
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget

    from data_miner_dagster.deployment import deployment_file

    target = WorkspaceFileTarget([str(deployment_file("workspace.yaml"))])
    with WorkspaceProcessContext(instance, target, code_server_log_level="WARNING") as process:
        context = process.create_request_context()
        yield Workspace(instance, context, context.get_code_location(context.code_location_names[0]))


def ask_for(platform: "Platform", workspace: Workspace, project: str, run: WantedRun) -> str:
    """Queue a run and return its id. From then on, its due videos count as in flight."""
    from data_miner_dagster.jobs import JOB_BY_STAGE, config_of

    batch_id, job = _batch_of(platform, project, run), JOB_BY_STAGE[run.stage]
    config = {"ops": config_of(job, **_config_of(run, batch_id))}
    return _submit(workspace, job, config, _tags_of(run, project, batch_id))


def _submit(workspace: Workspace, job_name: str, run_config: Mapping[str, object], tags: Mapping[str, str]) -> str:
    """Queue a run as `dagster job launch` does; return its id."""
    from dagster._core.definitions.selector import JobSubsetSelector

    instance, location = workspace.instance, workspace.location
    (repository,) = location.get_repositories().values()
    selector = JobSubsetSelector(location.name, repository.name, job_name, op_selection=None)
    job = location.get_job(selector)
    plan = location.get_execution_plan(job, run_config, None, None, instance).execution_plan_snapshot
    run = instance.create_run(
        job_name=job_name,
        run_id=None,
        run_config=run_config,
        status=None,
        tags={**job.tags, **tags},
        root_run_id=None,
        parent_run_id=None,
        step_keys_to_execute=plan.step_keys_to_execute,
        execution_plan_snapshot=plan,
        job_snapshot=job.job_snapshot,
        parent_job_snapshot=job.parent_job_snapshot,
        asset_selection=None,
        asset_check_selection=None,
        resolved_op_selection=job.resolved_op_selection,
        op_selection=None,
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
        asset_graph=repository.asset_graph,
    )
    return instance.submit_run(run.run_id, workspace.context).run_id
