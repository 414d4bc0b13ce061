"""The asset `videos`: proven video files with their metadata."""

from collections.abc import Iterator

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_videos
from data_miner_dagster.assets.sourcing import project_videos
from data_miner_dagster.domain.versions import DOWNLOADING_VERSION
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
    # Unequal batch sizes keep a backfill from putting two of the per-video assets into one run, where the failure of
    # one video would skip the later steps of all of them.
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=25),
    output_required=False,
)
def videos(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> Iterator[dg.MaterializeResult[None]]:
    """The video file, its metadata (`info.json`) and its sha256; proven to open, to have pictures and to be whole.

    Keyed by the video alone and shared by all projects. A video that a site withholds, or a broken file, is a
    recorded outcome: an observation with the reason, and a row in the catalog.
    """
    from data_miner_dagster.operations.downloading.download_videos import download_videos

    yield from materialize_videos(
        context, lambda keys, report: download_videos(platform.open(), keys, force=config.force, report=report)
    )
