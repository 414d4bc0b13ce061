"""The asset check of `filtered_frames`."""

import dagster as dg

from data_miner_dagster.assets.filtering import filtered_frames
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=filtered_frames, partitions_def=PROJECTS, blocking=True)
def every_frame_is_decided(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Every frame of every ready member video has exactly one decision, with a reason if and only if it is dropped.

    Videos that filtering left out are not checked.
    """
    from data_miner_dagster.operations.filtering.check import check_decisions

    opened = platform.open()
    with opened.mending():
        found = check_decisions(opened, context.partition_key)
    return dg.AssetCheckResult(
        passed=found.holds,
        description=None if found.holds else found.description,
        metadata={
            "frames": found.num_frames,
            "decisions": found.num_decisions,
            "frames without a decision": found.num_undecided,
            "decisions without a frame": found.num_of_no_frame,
            "repeated decisions": found.num_repeated,
            "missing or unexpected reason": found.num_without_reason,
        },
    )
