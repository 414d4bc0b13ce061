"""Delete what Dagster stores about videos and projects when they are removed or forgotten.

Belongs here: the instance's partitions, runs, events and logs. Does not belong here: the catalog and the files
(operations/upkeep/removal.py, operations/upkeep/forgetting.py).
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import dagster as dg

    from data_miner_dagster.operations.platform import Platform

_RUNS_A_PAGE: Final = 500
_REMARK: Final = "the runs that this came from were removed with a forgotten video"


@contextmanager
def open_history(platform: "Platform") -> "Iterator[dg.DagsterInstance | None]":
    """Yield Dagster's instance, or None if it does not exist yet."""
    from data_miner_dagster.deployment import existing_instance, standing_dagster_home

    home = standing_dagster_home(platform.layout)
    if home is None:
        yield None
        return
    with existing_instance(home) as instance:
        yield instance


def is_running(instance: "dg.DagsterInstance") -> bool:
    """Return whether any run is in flight."""
    import dagster as dg

    return bool(instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])))


def remove_stray_partitions(platform: "Platform") -> int | None:
    """Remove the partitions of videos and projects that the catalog does not know; return how many were removed.

    While a run is in flight, removes nothing and returns None, since the run may be working on them.
    """
    from data_miner_dagster.catalog.projects import find_projects
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.partitions import PROJECTS, VIDEOS

    with open_history(platform) as instance:
        if instance is None:
            return 0
        in_catalog = {
            VIDEOS: {video.key for video in find_videos(platform.database)},
            PROJECTS: {row.name for row in find_projects(platform.database)},
        }
        strays = [
            (str(definition.name), key)
            for definition, known in in_catalog.items()
            for key in instance.get_dynamic_partitions(str(definition.name))
            if key not in known
        ]
        if strays and is_running(instance):
            return None
        for name, key in strays:
            instance.delete_dynamic_partition(name, key)
        return len(strays)


def forget_in_history(platform: "Platform", needles: Collection[str], projects: Collection[str]) -> int:
    """Delete every run that names one of `needles` or worked on one of `projects`; return how many were deleted.

    All runs of the projects are deleted because they store previews with pictures. This shortens the history that
    Dagster shows, but loses nothing that further work needs. Runs in flight are kept.
    """
    from data_miner_dagster.catalog.database import compact_sqlite
    from data_miner_dagster.cli.dagster_tables import delete_dagster_rows, reclaim_dagster_space
    from data_miner_dagster.deployment import standing_dagster_home

    home = standing_dagster_home(platform.layout)
    with open_history(platform) as instance:
        if instance is None or home is None:
            return 0
        run_ids = [run.run_id for run in _runs(instance) if _concerns(instance, run, needles, projects)]
        for run_id in run_ids:
            instance.delete_run(run_id)
            instance.compute_log_manager.delete_logs(prefix=[run_id])
        _forget_in_events(instance)
        kept = {run.run_id for run in _runs(instance)}
        delete_dagster_rows(instance, needles, gone=run_ids, kept=kept)
        reclaim_dagster_space(instance)
    for path in sorted(home.rglob("*.db")):
        if path.stem not in kept:
            compact_sqlite(path)
    return len(run_ids)


def _runs(instance: "dg.DagsterInstance") -> "Iterator[dg.DagsterRun]":
    cursor = None
    while page := instance.get_runs(cursor=cursor, limit=_RUNS_A_PAGE):
        yield from page
        cursor = page[-1].run_id


def _concerns(
    instance: "dg.DagsterInstance", run: "dg.DagsterRun", needles: Collection[str], projects: Collection[str]
) -> bool:
    from dagster import serialize_value

    from data_miner_dagster.operations.upkeep.traces import text_forms
    from data_miner_dagster.partitions import PARTITION_TAG

    if not run.is_finished:
        return False
    if run.tags.get(PARTITION_TAG) in projects:
        return True
    forms = text_forms(needles)
    texts = (serialize_value(run), *map(serialize_value, instance.all_logs(run.run_id)))
    return any(form in text for text in texts for form in forms)


def _forget_in_events(instance: "dg.DagsterInstance") -> None:
    """Overwrite what Dagster stores in addition to events: each asset's last materialization, and summaries."""
    import dagster as dg
    from dagster._core.instance import RUNLESS_RUN_ID

    instance.event_log_storage.delete_events(RUNLESS_RUN_ID)  # left by an earlier call
    for asset_key in instance.get_asset_keys():
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key, metadata={"status": _REMARK}))
        instance.wipe_asset_cached_status([asset_key])
