"""The asset check of `detections`."""

import dagster as dg

from data_miner_dagster.assets.detection import detections
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=detections, partitions_def=PROJECTS, blocking=True)
def boxes_lie_inside(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every box lies inside its frame, and has an area, one of the project's classes, and a confidence from 0 to 1.

    A box with a mask is the mask's bounding box.
    """
    from data_miner_dagster.operations.detection.check import check_boxes

    opened = platform.open()
    with opened.mending():
        found = check_boxes(opened, context.partition_key)
    return dg.AssetCheckResult(
        passed=found.holds,
        description=None if found.holds else found.description,
        metadata={
            "boxes": found.num_boxes,
            "outside their frame or empty": found.num_misplaced,
            "with an unknown class": found.num_unknown_class,
            "confidence outside 0 to 1": found.num_bad_confidence,
            "not the bounds of their mask": found.num_wrong_masks,
        },
    )
