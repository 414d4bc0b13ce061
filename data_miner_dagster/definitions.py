"""What Dagster loads. Imports no torch, no yt-dlp and no PyAV: those load in the runs that need them."""

from collections.abc import Mapping

import dagster as dg

from data_miner_dagster.asset_checks import ALL_CHECKS
from data_miner_dagster.jobs import ALL_ASSETS, JOBS
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.schedules import relist_sources
from data_miner_dagster.sensors.datasets import settled_projects
from data_miner_dagster.sensors.project_files import project_files
from data_miner_dagster.sensors.videos import wanted_videos


def build_defs(resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return the definitions, with `resources` in place of or beside the usual ones."""
    return dg.Definitions(
        assets=ALL_ASSETS,
        asset_checks=ALL_CHECKS,
        jobs=list(JOBS.values()),
        sensors=[project_files, wanted_videos, settled_projects],
        schedules=[relist_sources],
        resources={"platform": PlatformResource(), **(resources or {})},
        # Runs keep a loaded model and open connections, and a process a step costs two seconds.
        executor=dg.in_process_executor,
    )


defs = build_defs()
