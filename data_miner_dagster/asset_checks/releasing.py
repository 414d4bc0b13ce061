"""The check of `dataset`."""

import dagster as dg

from data_miner_dagster.assets.releasing import dataset
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=dataset, partitions_def=PROJECTS)
def release_is_whole(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every file of the current release exists and has the checksum that the release records for it."""
    from data_miner_dagster.operations.releasing.check import check_release

    check = check_release(platform.open(), context.partition_key)
    return dg.AssetCheckResult(
        passed=check.holds,
        description=None if check.holds else check.description,
        metadata={
            "release": check.version,
            "files": check.num_files,
            "damaged files": len(check.problems),
            "which": ", ".join(check.problems[:10]) or "none",
            "withdrawn": check.withdrawn_reason or "no",
        },
    )
