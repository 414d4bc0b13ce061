"""The asset checks of `dataset`."""

import dagster as dg

from data_miner_dagster.assets.metadata import bounded
from data_miner_dagster.assets.releasing import dataset
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=dataset, partitions_def=PROJECTS)
def release_is_whole(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every file of the current release exists and matches its recorded checksum, and the catalog has the release."""
    from data_miner_dagster.operations.releasing.check import check_release

    check = check_release(platform.open(), context.partition_key)
    return dg.AssetCheckResult(
        passed=check.holds,
        description=None if check.holds else check.description,
        metadata=bounded(
            {
                "release": dg.MetadataValue.text(check.version),
                "files": dg.MetadataValue.int(check.num_files),
                "problems": dg.MetadataValue.int(len(check.problems)),
                "withdrawn": dg.MetadataValue.text(check.withdrawn_reason or "no"),
                "first problems": dg.MetadataValue.text(", ".join(check.problems[:10]) or "none"),
            }
        ),
    )


@dg.asset_check(asset=dataset, partitions_def=PROJECTS, blocking=True)
def splits_do_not_leak(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """No two images from different videos in different splits look alike.

    The images are compared by perceptual hash, and by the encoder that deduplication did not use. Pairs that people
    judged to be different do not count.
    """
    from data_miner_dagster.operations.releasing.leaks import check_leaks

    opened = platform.open()
    with opened.mending():
        found = check_leaks(opened, context.partition_key)
    return dg.AssetCheckResult(
        passed=found.holds,
        description=found.description,
        metadata=bounded(
            {
                "pairs that look alike": dg.MetadataValue.int(found.tally.num_leaks),
                "within one video": dg.MetadataValue.int(found.tally.num_within_videos),
                "pairs compared": dg.MetadataValue.int(found.tally.num_pairs),
                "limits": dg.MetadataValue.text(found.limits_in_short),
                "most similar pairs": dg.MetadataValue.text("; ".join(found.named) or "none"),
            }
        ),
    )
