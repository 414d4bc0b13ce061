"""Jobs: the selections that sensors and the CLI launch. Each covers one pool's worth of work on one partition set."""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.assets.deduplication import deduplicated_frames
from data_miner_dagster.assets.detection import detections
from data_miner_dagster.assets.downloading import videos
from data_miner_dagster.assets.embedding import frame_embeddings
from data_miner_dagster.assets.extraction import frames
from data_miner_dagster.assets.filtering import filtered_frames
from data_miner_dagster.assets.releasing import dataset
from data_miner_dagster.assets.sourcing import project_videos

_ASSETS_BY_JOB: Final[Mapping[str, tuple[dg.AssetsDefinition, ...]]] = {
    "list_sources": (project_videos,),
    "download_videos": (videos,),
    "extract_frames": (frames,),
    "embed_frames": (frame_embeddings,),
    "build_dataset": (filtered_frames, deduplicated_frames, detections, dataset),
}

ALL_ASSETS: Final = tuple(asset for assets in _ASSETS_BY_JOB.values() for asset in assets)

ASSET_KEYS_BY_JOB: Final[Mapping[str, frozenset[dg.AssetKey]]] = {
    name: frozenset(asset.key for asset in assets) for name, assets in _ASSETS_BY_JOB.items()
}

_DESCRIPTIONS: Final = {
    "list_sources": "List a project's sources: which videos belong to it.",
    "download_videos": "Download and prove a range of videos.",
    "extract_frames": "Sample the frames of a range of videos.",
    "embed_frames": "Embed the frames of a range of videos.",
    "build_dataset": "Filter, deduplicate, detect and release one project.",
}

JOBS: Final = {
    name: dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*assets),
        description=_DESCRIPTIONS[name],
    )
    for name, assets in _ASSETS_BY_JOB.items()
}
