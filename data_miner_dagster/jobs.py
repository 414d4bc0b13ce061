"""The jobs that sensors and the CLI launch: one for each stage, and a few more.

A job for videos processes a batch, which is a list of keys in any order. A job for projects materializes one partition
of an asset. A job for shards helps another run with one project.

Belongs here: the names of jobs and of their ops. Other modules import the names from here.
"""

from collections.abc import Callable, Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.assets.batches import BatchConfig, work_off, work_off_project
from data_miner_dagster.assets.shards import SHARED_STAGES, ShardConfig, join_in
from data_miner_dagster.domain.statuses import PROJECT_WAY
from data_miner_dagster.domain.work import ASSETS, VIDEO_STAGES, WorkStage
from data_miner_dagster.resources.platform import PlatformResource

ALL_ASSETS: Final = tuple(dg.load_assets_from_package_name("data_miner_dagster.assets"))

LIST_SOURCES: Final = "list_sources"
DOWNLOAD_VIDEOS: Final = "download_videos"
EXTRACT_FRAMES: Final = "extract_frames"
EMBED_FRAMES: Final = "embed_frames"
PROCESS_VIDEOS: Final = "process_videos"
TRAIN_STUDENT: Final = "train_student"

OPTIONAL_ASSETS: Final[Mapping[str, str]] = {TRAIN_STUDENT: "student"}
"""Assets that are neither part of a build nor requested automatically, keyed by the job that materializes them."""

JOB_BY_STAGE: Final[Mapping[WorkStage, str]] = {
    WorkStage.SOURCING: LIST_SOURCES,
    WorkStage.DOWNLOADING: DOWNLOAD_VIDEOS,
    WorkStage.EXTRACTION: EXTRACT_FRAMES,
    WorkStage.EMBEDDING: EMBED_FRAMES,
    WorkStage.FILTERING: "filter_frames",
    WorkStage.DEDUPLICATION: "deduplicate_frames",
    WorkStage.DETECTION: "detect_objects",
    WorkStage.RELEASING: "release_dataset",
}
"""The job of each stage, in pipeline order."""

SHARE_JOB_BY_STAGE: Final[Mapping[WorkStage, str]] = {WorkStage.DETECTION: "detect_shards"}
"""The jobs whose runs help the leading run of a stage with its work on one project."""

STAGE_BY_JOB: Final[Mapping[str, WorkStage]] = {name: stage for stage, name in JOB_BY_STAGE.items()}

VIDEO_JOBS: Final = tuple(JOB_BY_STAGE[stage] for stage in VIDEO_STAGES)
"""The jobs of the stages that process lists of videos, in pipeline order."""

PROJECT_JOBS: Final = tuple(JOB_BY_STAGE[WorkStage(stage.value)] for stage in PROJECT_WAY)
"""The jobs that build a project's dataset, in pipeline order. Each stage has its own job, which uses a single pool."""

OP_BY_JOB: Final[Mapping[str, str]] = {
    **{name: stage.value.lower() if stage in VIDEO_STAGES else ASSETS[stage] for stage, name in JOB_BY_STAGE.items()},
    PROCESS_VIDEOS: "side_by_side",
    **{name: f"{stage.value.lower()}_shards" for stage, name in SHARE_JOB_BY_STAGE.items()},
}
"""The op that does the work of each job, except `train_student`. It is named after the job's asset, or after the stage
if the job processes lists of videos or shards. The op of `process_videos` is `side_by_side`."""

POOL_BY_STAGE: Final[Mapping[WorkStage, str]] = {
    stage: pool
    for asset in ALL_ASSETS
    for stage, name in ASSETS.items()
    if isinstance(asset, dg.AssetsDefinition) and asset.key == dg.AssetKey(name) and (pool := asset.op.pool)
}
"""The pool in which each stage's runs take a slot."""

_FORMER_JOBS: Final = ("build_dataset",)
"""Jobs of earlier versions, whose runs may still be active when this version is installed."""

_OUR_ASSETS: Final = frozenset(map(dg.AssetKey, (*ASSETS.values(), *OPTIONAL_ASSETS.values())))

_DESCRIPTIONS: Final = {
    DOWNLOAD_VIDEOS: "Download and verify videos.",
    EXTRACT_FRAMES: "Sample the frames of videos.",
    EMBED_FRAMES: "Embed the frames of videos.",
    PROCESS_VIDEOS: "Download, extract and embed the videos of one project concurrently, as `data-miner run` does.",
    TRAIN_STUDENT: "Train a small network on the latest release of one project, to check what it learns.",
    LIST_SOURCES: "List a project's sources to find the videos that belong to it.",
    **{JOB_BY_STAGE[WorkStage(stage.value)]: f"Take one project through {stage.word}." for stage in PROJECT_WAY},
    **{
        name: f"Help another run with the {stage.value.lower()} of one project."
        for stage, name in SHARE_JOB_BY_STAGE.items()
    },
}

_NO_TIME_LIMIT: Final = {"dagster/max_runtime": "0"}
"""The tag that disables Dagster's time limit for runs, even if an edited dagster.yaml sets one.

Hanging runs are detected by their progress instead (runs.py).
"""


def _job_of_videos(stage: WorkStage) -> dg.JobDefinition:
    name, pool = JOB_BY_STAGE[stage], POOL_BY_STAGE[stage]
    rivals = [other for other in WorkStage if other is not stage and POOL_BY_STAGE[other] == pool]

    @dg.op(name=OP_BY_JOB[name], pool=pool, description=_DESCRIPTIONS[name])
    def work(context: dg.OpExecutionContext, config: BatchConfig, platform: PlatformResource) -> None:
        work_off(context, platform.open(), stage, rivals, config)

    return _job_of(name, work)


def _job_of_shards(stage: WorkStage) -> dg.JobDefinition:
    name, pool = SHARE_JOB_BY_STAGE[stage], POOL_BY_STAGE[stage]
    rivals = [other for other in WorkStage if POOL_BY_STAGE[other] == pool]

    @dg.op(name=OP_BY_JOB[name], pool=pool, description=_DESCRIPTIONS[name])
    def work(context: dg.OpExecutionContext, config: ShardConfig, platform: PlatformResource) -> None:
        join_in(context, platform.open(), stage, rivals, config)

    return _job_of(name, work)


@dg.op(name=OP_BY_JOB[PROCESS_VIDEOS], description=_DESCRIPTIONS[PROCESS_VIDEOS])
def _process_videos(context: dg.OpExecutionContext, config: BatchConfig, platform: PlatformResource) -> None:
    work_off_project(context, platform.open(), config)


def _job_of(name: str, op: Callable[[], object]) -> dg.JobDefinition:
    @dg.job(name=name, description=_DESCRIPTIONS[name], tags=_NO_TIME_LIMIT)
    def job() -> None:
        op()

    return job


JOBS: Final = {
    **{
        name: _job_of_videos(stage)
        if stage in VIDEO_STAGES
        else dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(ASSETS[stage]),
            description=_DESCRIPTIONS[name],
            tags=_NO_TIME_LIMIT,
        )
        for stage, name in JOB_BY_STAGE.items()
    },
    **{
        name: dg.define_asset_job(
            name, selection=dg.AssetSelection.assets(asset), description=_DESCRIPTIONS[name], tags=_NO_TIME_LIMIT
        )
        for name, asset in OPTIONAL_ASSETS.items()
    },
    PROCESS_VIDEOS: _job_of(PROCESS_VIDEOS, _process_videos),
    **{SHARE_JOB_BY_STAGE[stage]: _job_of_shards(stage) for stage in SHARED_STAGES},
}


def stage_of_job(name: str) -> WorkStage | None:
    """Return the stage that a job carries out, or None if it carries out several stages or none, or is unknown."""
    of_shards = {share: stage for stage, share in SHARE_JOB_BY_STAGE.items()}
    return STAGE_BY_JOB.get(name, of_shards.get(name))


def is_ours(run: dg.DagsterRun) -> bool:
    """Return whether a run executes one of `JOBS`, a job of an earlier version, or only our assets or their checks.

    It does not matter how the run was launched. An instance may also contain other runs.
    """
    selected = [*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())]
    return run.job_name in (*JOBS, *_FORMER_JOBS) or (bool(selected) and set(selected) <= _OUR_ASSETS)


def config_of(job: str, **values: object) -> dict[str, object]:
    """Return the `ops` section of a run configuration that passes `values` to a job's op.

    Raises:
        KeyError: `OP_BY_JOB` does not contain the job.
    """
    return {OP_BY_JOB[job]: {"config": values}}
