"""The asset `videos`: verified video files with their metadata."""

from collections.abc import Iterator

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_videos
from data_miner_dagster.assets.previews import download_metadata
from data_miner_dagster.assets.sourcing import project_videos
from data_miner_dagster.domain.versions import DOWNLOADING_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.draining import work_on
from data_miner_dagster.partitions import LINEAGE_ONLY, VIDEOS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=VIDEOS,
    deps=[dg.AssetDep(project_videos, partition_mapping=LINEAGE_ONLY)],
    group_name="acquisition",
    kinds={"ytdlp", "mp4"},
    owners=OWNERS,
    tags={"scope": "shared"},
    pool="download",
    code_version=str(DOWNLOADING_VERSION),
    # The per-video assets have different batch sizes so that a backfill never puts two of them into one run, where one
    # failed video would skip the later steps of all videos.
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=25),
    output_required=False,
)
def videos(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> Iterator[dg.MaterializeResult[None]]:
    """The video file, its metadata (`info.json`) and its sha256.

    The file has been verified: it opens, contains pictures and is complete. All projects share it. If a video is
    unavailable or its file is broken, the outcome is an observation with the reason, and a row in the catalog.
    """
    opened = platform.open()
    yield from materialize_videos(
        context,
        lambda keys, report: work_on(opened, WorkStage.DOWNLOADING, keys, force=config.force, report=report),
        lambda outcome: download_metadata(opened, outcome.video_key),
    )
