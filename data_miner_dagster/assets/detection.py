"""The asset `detections`: bounding boxes."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.assets.previews import detection_metadata
from data_miner_dagster.domain.statuses import ProjectStage, asset_before
from data_miner_dagster.domain.versions import DETECTION_VERSION
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[asset_before(ProjectStage.DETECTION)],
    group_name="dataset",
    kinds={"pytorch", "parquet"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="inference",
    code_version=str(DETECTION_VERSION),
)
def detections(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """Boxes with class, confidence, detector and prompt, including low-confidence boxes.

    The detector runs only on frames that it has not yet examined with the project's current classes.
    """
    from data_miner_dagster.operations.detection.detect_project import detect_project

    opened = platform.open()
    return materialize_project(
        context,
        lambda project: detect_project(opened, project, force=config.force),
        lambda project: detection_metadata(opened, project),
    )
