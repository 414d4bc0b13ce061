"""The asset `filtered_frames`: the decision to keep or drop each frame, with the reason."""

import dagster as dg

from data_miner_dagster.assets.embedding import frame_embeddings
from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.assets.previews import filtering_metadata
from data_miner_dagster.assets.sourcing import project_videos
from data_miner_dagster.domain.versions import FILTERING_VERSION, SCORING_VERSION
from data_miner_dagster.partitions import LINEAGE_ONLY, PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[dg.AssetDep(frame_embeddings, partition_mapping=LINEAGE_ONLY), project_videos],
    group_name="dataset",
    kinds={"numpy", "parquet"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="inference",
    code_version=f"{SCORING_VERSION}.{FILTERING_VERSION}",
)
def filtered_frames(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """Every frame of every member video, with its similarities to the prompts and the decision to keep or drop it.

    Each decision to drop a frame has a reason. The similarities are computed as a matrix product of stored embeddings,
    so no image is opened and no image model runs.
    """
    from data_miner_dagster.operations.filtering.filter_project import filter_project

    opened = platform.open()
    return materialize_project(
        context,
        lambda project: filter_project(opened, project, force=config.force),
        lambda project: filtering_metadata(opened, project),
    )
