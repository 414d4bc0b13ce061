"""The check of `deduplicated_frames`."""

from typing import Final

import dagster as dg

from data_miner_dagster.assets.deduplication import deduplicated_frames
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource

_ALL_PAIRS_UP_TO: Final = 100_000
"""Representatives that are compared with all others, in about a minute; beyond, so many of them are."""


@dg.asset_check(asset=deduplicated_frames, partitions_def=PROJECTS, blocking=True)
def duplicates_are_covered(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """No two representatives are within the threshold; every removed frame is within it of the one it names."""
    from data_miner_dagster.operations.deduplication import check_deduplication

    found = check_deduplication(platform.open(), context.partition_key, sample_size=_ALL_PAIRS_UP_TO)
    report = found.report
    return dg.AssetCheckResult(
        passed=found.passed,
        description=found.description,
        metadata={
            "representatives": report.num_representatives,
            "representatives compared with all": report.num_representatives_checked,
            "removed": report.num_removed,
            "too close to another representative": report.num_too_close,
            "removed without support": report.num_unsupported,
            "recall": report.recall,
            "recall needed": found.minimum_recall,
        },
    )
