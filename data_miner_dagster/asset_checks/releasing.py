"""The check of `dataset`."""

import dagster as dg

from data_miner_dagster.assets.releasing import dataset
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=dataset, partitions_def=PROJECTS)
def release_is_whole(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every file of the latest release is there and has the bytes that its manifest says."""
    from data_miner_dagster.operations.releasing import check_latest_release

    version, damaged = check_latest_release(platform.open(), context.partition_key)
    return dg.AssetCheckResult(
        passed=not damaged,
        metadata={"release": version, "damaged files": len(damaged), "which": ", ".join(damaged[:10]) or "none"},
    )
