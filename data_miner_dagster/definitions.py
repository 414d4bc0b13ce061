"""The definitions that Dagster loads. They do not import torch, yt-dlp or PyAV; only runs that need these libraries do.

Garbage collection is off while the definitions load, and ignores the loaded objects afterwards, since none of them is
ever freed. Otherwise, garbage collection would take half of the CPU time for starting and ending each run's process.
"""

from collections.abc import Mapping

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

with creating_lasting_objects():
    import dagster as dg

    from data_miner_dagster.asset_checks import ALL_CHECKS
    from data_miner_dagster.housekeeping import prune_history_job
    from data_miner_dagster.jobs import ALL_ASSETS, JOBS
    from data_miner_dagster.resources.platform import PlatformResource
    from data_miner_dagster.schedules import housekeeping, relist_sources
    from data_miner_dagster.sensors.work import wanted_work


def build_defs(resources: Mapping[str, object] | None = None) -> dg.Definitions:
    """Return the definitions. `resources` are added to the default ones and may replace them."""
    return dg.Definitions(
        assets=ALL_ASSETS,
        asset_checks=ALL_CHECKS,
        jobs=[*JOBS.values(), prune_history_job],
        sensors=[wanted_work],
        schedules=[relist_sources, housekeeping],
        resources={"platform": PlatformResource(), **(resources or {})},
        # Keeps loaded models and open connections across steps; a process per step would cost two seconds each.
        executor=dg.in_process_executor,
    )


with creating_lasting_objects():
    defs = build_defs()
