"""The check of `deduplicated_frames`."""

from typing import Final

import dagster as dg

from data_miner_dagster.assets.deduplication import deduplicated_frames
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource

_ALL_PAIRS_UP_TO: Final = 20_000
"""Representatives that are compared with all others; beyond, so many of them are: the check stays linear."""


@dg.asset_check(asset=deduplicated_frames, partitions_def=PROJECTS, blocking=True)
def duplicates_are_covered(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """No two representatives are within the threshold; every removed frame is within it of the one it names."""
    from data_miner_dagster.operations.deduplication import check_deduplication

    found = check_deduplication(platform.open(), context.partition_key, sample_size=_ALL_PAIRS_UP_TO)
    return dg.AssetCheckResult(
        passed=found.holds,
        metadata={
            "representatives": found.num_representatives,
            "representatives compared with all": found.num_representatives_checked,
            "removed": found.num_removed,
            "too close to another representative": found.num_too_close,
            "removed without support": found.num_unsupported,
            "recall": found.recall,
        },
    )
