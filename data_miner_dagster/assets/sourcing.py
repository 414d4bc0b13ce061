"""The asset `project_videos`: the videos of a project."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.assets.previews import sourcing_metadata
from data_miner_dagster.catalog.videos import wanted_videos
from data_miner_dagster.domain.records import ProjectOutcome
from data_miner_dagster.domain.versions import SOURCING_VERSION
from data_miner_dagster.partitions import PROJECTS, VIDEOS, add_partitions
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[],
    group_name="acquisition",
    kinds={"ytdlp", "sqlalchemy"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="sourcing",
    code_version=str(SOURCING_VERSION),
)
def project_videos(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """The project's videos with the source of each, and the rejected candidates with their reasons.

    The sources in the project file are listed, but no video is downloaded. A source that cannot be listed does not
    affect the others.
    """
    from data_miner_dagster.operations.sourcing.list_sources import list_sources

    opened = platform.open()

    def listed(project: str) -> ProjectOutcome:
        outcome = list_sources(opened, project, force=config.force)
        add_partitions(context.instance, VIDEOS, [video.key for video in wanted_videos(opened.database, project)])
        return outcome

    return materialize_project(context, listed, lambda project: sourcing_metadata(opened, project))
