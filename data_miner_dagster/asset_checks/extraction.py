"""The asset check of `frames`."""

import dagster as dg

from data_miner_dagster.asset_checks.video_files import check_files
from data_miner_dagster.assets.extraction import frames
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=frames)
def every_video_has_its_frames(platform: PlatformResource) -> dg.AssetCheckResult:
    """Every video that the catalog records as extracted has its table of frames."""
    return check_files(platform.open(), WorkStage.EXTRACTION)
