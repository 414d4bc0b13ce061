"""The asset `deduplicated_frames`: near-duplicates within and across videos."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.assets.previews import deduplication_metadata
from data_miner_dagster.domain.statuses import ProjectStage, asset_before
from data_miner_dagster.domain.versions import DEDUPLICATION_VERSION
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[asset_before(ProjectStage.DEDUPLICATION)],
    group_name="dataset",
    kinds={"faiss", "parquet"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="inference",
    code_version=str(DEDUPLICATION_VERSION),
)
def deduplicated_frames(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """The duplicate group of every kept frame, with the group's representative and the frame's similarity to it.

    No two representatives are near-duplicates of each other. Every other kept frame is a near-duplicate of its
    representative.
    """
    from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project

    opened = platform.open()
    return materialize_project(
        context,
        lambda project: deduplicate_project(opened, project, force=config.force),
        lambda project: deduplication_metadata(opened, project),
    )
