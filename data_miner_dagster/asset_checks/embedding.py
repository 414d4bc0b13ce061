"""The asset check of `frame_embeddings`."""

import dagster as dg

from data_miner_dagster.asset_checks.video_files import check_files
from data_miner_dagster.assets.embedding import frame_embeddings
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset_check(asset=frame_embeddings)
def every_video_has_its_embeddings(platform: PlatformResource) -> dg.AssetCheckResult:
    """Every video that the catalog records as embedded has its embeddings."""
    return check_files(platform.open(), WorkStage.EMBEDDING)
