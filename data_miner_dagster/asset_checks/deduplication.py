"""The asset check of `deduplicated_frames`."""

import dagster as dg

from data_miner_dagster.assets.deduplication import deduplicated_frames
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=deduplicated_frames, partitions_def=PROJECTS, blocking=True)
def duplicates_are_covered(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """No two representatives are near-duplicates, and every duplicate is a near-duplicate of its representative.

    If there are many frames, only a sample of the representatives is compared with all others.
    """
    from data_miner_dagster.operations.deduplication.check import check_deduplication

    opened = platform.open()
    with opened.mending():
        found = check_deduplication(opened, context.partition_key)
    return dg.AssetCheckResult(
        passed=found.holds,
        description=found.description,
        metadata={
            "representatives": found.report.num_representatives,
            "representatives compared with all others": found.report.num_representatives_checked,
            "duplicates": found.report.num_duplicates,
            "too close to another representative": found.report.num_too_close,
            "duplicates without a representative within reach": found.report.num_unsupported,
            "recall": found.report.recall,
        },
    )
