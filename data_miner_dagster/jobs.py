"""Jobs: the asset selections that sensors and the CLI launch, each on one partition set.

Belongs here: the names of jobs and of their ops. Other modules import the names from here.
"""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.domain.statuses import PROJECT_WAY

ALL_ASSETS: Final = tuple(dg.load_assets_from_package_name("data_miner_dagster.assets"))

LIST_SOURCES: Final = "list_sources"
DOWNLOAD_VIDEOS: Final = "download_videos"
EXTRACT_FRAMES: Final = "extract_frames"
EMBED_FRAMES: Final = "embed_frames"
BUILD_DATASET: Final = "build_dataset"

VIDEO_JOBS: Final = (DOWNLOAD_VIDEOS, EXTRACT_FRAMES, EMBED_FRAMES)
"""The jobs that process a range of videos, in pipeline order."""

OPS_BY_JOB: Final[Mapping[str, tuple[str, ...]]] = {
    LIST_SOURCES: ("project_videos",),
    DOWNLOAD_VIDEOS: ("videos",),
    EXTRACT_FRAMES: ("frames",),
    EMBED_FRAMES: ("frame_embeddings",),
    BUILD_DATASET: tuple(place.asset for place in PROJECT_WAY.values()),
}
"""The assets of each job, in pipeline order. An asset's op has the same name as the asset."""

ASSET_KEYS_BY_JOB: Final[Mapping[str, frozenset[dg.AssetKey]]] = {
    name: frozenset(map(dg.AssetKey, assets)) for name, assets in OPS_BY_JOB.items()
}

_DESCRIPTIONS: Final = {
    LIST_SOURCES: "List a project's sources to find the videos that belong to it.",
    DOWNLOAD_VIDEOS: "Download and verify a range of videos.",
    EXTRACT_FRAMES: "Sample the frames of a range of videos.",
    EMBED_FRAMES: "Embed the frames of a range of videos.",
    BUILD_DATASET: "Filter, deduplicate, detect and release one project.",
}

JOBS: Final = {
    name: dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*assets),
        description=_DESCRIPTIONS[name],
    )
    for name, assets in OPS_BY_JOB.items()
}


def forced_ops(job: str) -> dict[str, object]:
    """Return the `ops` section of a run configuration that makes a job redo its work even if it is current."""
    return {op: {"config": {"force": True}} for op in OPS_BY_JOB[job]}
