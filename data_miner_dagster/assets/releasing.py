"""The asset `dataset`: releases of a project's dataset."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.assets.previews import dataset_metadata
from data_miner_dagster.domain.statuses import ProjectStage, asset_before
from data_miner_dagster.domain.versions import RELEASING_VERSION, REPORT_VERSION
from data_miner_dagster.export.formats import asset_kinds
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[asset_before(ProjectStage.RELEASING)],
    group_name="dataset",
    kinds=asset_kinds(),
    owners=OWNERS,
    tags={"scope": "project"},
    pool="release",
    code_version=f"{RELEASING_VERSION}.{REPORT_VERSION}",
)
def dataset(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """An immutable release: COCO, YOLO and Parquet annotations, images, a datasheet, and an HTML report.

    The same inputs produce the same bytes. A release that is still current is not written again.
    """
    from data_miner_dagster.operations.releasing.release_project import release_project

    opened = platform.open()
    return materialize_project(
        context,
        lambda project: release_project(opened, project, force=config.force),
        lambda project: dataset_metadata(opened, project),
    )
