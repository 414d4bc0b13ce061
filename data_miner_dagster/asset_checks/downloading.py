"""The asset check of `videos`."""

import dagster as dg

from data_miner_dagster.asset_checks.video_files import check_files
from data_miner_dagster.assets.downloading import videos
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=videos)
def every_video_has_its_file(platform: PlatformResource) -> dg.AssetCheckResult:
    """Every video that the catalog records as downloaded but not yet extracted has its file."""
    return check_files(platform.open(), WorkStage.DOWNLOADING)
