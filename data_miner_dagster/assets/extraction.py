"""The asset `frames`: sampled frames of a video."""

from collections.abc import Iterator

import dagster as dg

from data_miner_dagster.assets.downloading import videos
from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_videos
from data_miner_dagster.assets.previews import frames_metadata
from data_miner_dagster.domain.versions import EXTRACTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.draining import work_on
from data_miner_dagster.partitions import VIDEOS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=VIDEOS,
    deps=[videos],
    group_name="frames",
    kinds={"pyav", "parquet"},
    owners=OWNERS,
    tags={"scope": "shared"},
    pool="extract",
    code_version=str(EXTRACTION_VERSION),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=20),
    output_required=False,
)
def frames(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Sampled frames as image files (JPEG by default), and a Parquet manifest with one row per frame.

    A row has the frame's exact time in the container, and its size, sharpness, brightness, contrast and perceptual
    hash. The sampling is a platform setting, since all projects share the frames.
    """
    opened = platform.open()
    yield from materialize_videos(
        context,
        lambda keys, report: work_on(opened, WorkStage.EXTRACTION, keys, force=config.force, report=report),
        lambda outcome: frames_metadata(opened, outcome.video_key),
    )
