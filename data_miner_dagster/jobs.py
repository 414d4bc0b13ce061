"""Jobs: the selections that sensors and the CLI launch. Each covers one pool's worth of work on one partition set."""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from data_miner_dagster.domain.statuses import PROJECT_WAY

ALL_ASSETS: Final = tuple(dg.load_assets_from_package_name("data_miner_dagster.assets"))

OPS_BY_JOB: Final[Mapping[str, tuple[str, ...]]] = {
    "list_sources": ("project_videos",),
    "download_videos": ("videos",),
    "extract_frames": ("frames",),
    "embed_frames": ("frame_embeddings",),
    "build_dataset": tuple(place.asset for place in PROJECT_WAY.values()),
}
"""The assets of each job, in their order. The op of an asset has its name."""

ASSET_KEYS_BY_JOB: Final[Mapping[str, frozenset[dg.AssetKey]]] = {
    name: frozenset(map(dg.AssetKey, assets)) for name, assets in OPS_BY_JOB.items()
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
    for name, assets in OPS_BY_JOB.items()
}
