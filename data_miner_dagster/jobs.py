"""Jobs: what sensors and the CLI launch, one for each stage.

Belongs here: the names of jobs and of their ops. Other modules import the names from here.
"""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.domain.statuses import PROJECT_WAY
from data_miner_dagster.domain.work import WorkStage

ALL_ASSETS: Final = tuple(dg.load_assets_from_package_name("data_miner_dagster.assets"))

LIST_SOURCES: Final = "list_sources"
DOWNLOAD_VIDEOS: Final = "download_videos"
EXTRACT_FRAMES: Final = "extract_frames"
EMBED_FRAMES: Final = "embed_frames"

VIDEO_JOBS: Final = (DOWNLOAD_VIDEOS, EXTRACT_FRAMES, EMBED_FRAMES)
"""The jobs that process a range of videos, in pipeline order."""

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

PROJECT_JOBS: Final = tuple(JOB_BY_STAGE[WorkStage(stage.value)] for stage in PROJECT_WAY)
"""The jobs that build a project's dataset, in pipeline order. One a stage, so that a pool is held only while used."""

OPS_BY_JOB: Final[Mapping[str, tuple[str, ...]]] = {
    LIST_SOURCES: ("project_videos",),
    DOWNLOAD_VIDEOS: ("videos",),
    EXTRACT_FRAMES: ("frames",),
    EMBED_FRAMES: ("frame_embeddings",),
    **{JOB_BY_STAGE[WorkStage(stage.value)]: (place.asset,) for stage, place in PROJECT_WAY.items()},
}
"""The assets of each job, in pipeline order. An asset's op has the same name as the asset."""

ASSET_KEYS_BY_JOB: Final[Mapping[str, frozenset[dg.AssetKey]]] = {
    name: frozenset(map(dg.AssetKey, assets)) for name, assets in OPS_BY_JOB.items()
}

_FORMER_JOBS: Final = ("build_dataset",)
"""Jobs of earlier versions, whose runs may be under way when this one is installed."""

_OUR_ASSETS: Final = frozenset[dg.AssetKey]().union(*ASSET_KEYS_BY_JOB.values())

_DESCRIPTIONS: Final = {
    LIST_SOURCES: "List a project's sources to find the videos that belong to it.",
    DOWNLOAD_VIDEOS: "Download and verify a range of videos.",
    EXTRACT_FRAMES: "Sample the frames of a range of videos.",
    EMBED_FRAMES: "Embed the frames of a range of videos.",
    **{JOB_BY_STAGE[WorkStage(stage.value)]: f"Take one project through {stage.word}." for stage in PROJECT_WAY},
}

_NO_TIME_LIMIT: Final = {"dagster/max_runtime": "0"}
"""Whether a run hangs is judged by its progress (runs.py), also where an edited dagster.yaml has a time limit."""

JOBS: Final = {
    name: dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*assets),
        description=_DESCRIPTIONS[name],
        tags=_NO_TIME_LIMIT,
    )
    for name, assets in OPS_BY_JOB.items()
}


def is_ours(run: dg.DagsterRun) -> bool:
    """Return whether a run executes these assets or jobs, however it was launched. An instance may have others."""
    selected = [*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())]
    return run.job_name in (*OPS_BY_JOB, *_FORMER_JOBS) or (bool(selected) and set(selected) <= _OUR_ASSETS)


def forced_ops(job: str) -> dict[str, object]:
    """Return the `ops` section of a run configuration that makes a job redo its work even if it is current."""
    return {op: {"config": {"force": True}} for op in OPS_BY_JOB[job]}
