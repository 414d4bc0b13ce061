"""The asset `frame_embeddings`: one image-text embedding per frame."""

from collections.abc import Iterator

import dagster as dg

from data_miner_dagster.assets.extraction import frames
from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_videos
from data_miner_dagster.assets.previews import video_metadata
from data_miner_dagster.domain.versions import EMBEDDING_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.draining import work_on
from data_miner_dagster.partitions import VIDEOS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=VIDEOS,
    deps=[frames],
    group_name="frames",
    kinds={"pytorch", "numpy"},
    owners=OWNERS,
    tags={"scope": "shared"},
    pool="inference",
    code_version=str(EMBEDDING_VERSION),
    backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=50),
    output_required=False,
)
def frame_embeddings(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> Iterator[dg.MaterializeResult[None]]:
    """One image-text embedding per frame (float16), from the encoder that filtering uses.

    The encoder runs here, once per video. It does not run again when a prompt or a threshold changes.
    """
    opened = platform.open()
    yield from materialize_videos(
        context,
        lambda keys, report: work_on(opened, WorkStage.EMBEDDING, keys, force=config.force, report=report),
        lambda outcome: video_metadata(outcome.video_key),
    )
