"""Delete what Dagster stores about videos and projects when they are removed or forgotten.

Belongs here: the instance's partitions, runs, events and logs. Does not belong here: the catalog and the files
(operations/upkeep/removal.py, operations/upkeep/forgetting.py).
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import dagster as dg

    from data_miner_dagster.operations.platform import Platform

_RUNS_A_PAGE: Final = 500
_REMARK: Final = "earlier events were removed because they may show a forgotten video"


@contextmanager
def open_history(platform: "Platform") -> "Iterator[dg.DagsterInstance | None]":
    """Yield Dagster's instance and close it afterwards, or yield None if it does not exist yet.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.deployment import existing_instance, name_dagster_storage, standing_dagster_home

    home = standing_dagster_home(platform.layout)
    if home is None:
        yield None
        return
    name_dagster_storage(platform)
    with existing_instance(home) as instance:
        yield instance


def remove_stray_partitions(platform: "Platform") -> int | None:
    """Remove the partitions of videos and projects that are not in the catalog; return the number removed.

    Return None if some of them cannot be removed until a run in flight has ended. The others are removed in any case.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.history.partition_keys import remove_stray_keys

    with open_history(platform) as instance:
        num_removed, num_waiting = remove_stray_keys(platform, instance) if instance is not None else (0, 0)
    return num_removed if not num_waiting else None


def forget_in_history(platform: "Platform", needles: Collection[str], projects: Collection[str]) -> int:
    """Delete every finished run that names one of `needles` or worked on one of `projects`; return the number deleted.

    All finished runs of the projects are deleted because they store previews with pictures. This shortens the history
    that Dagster shows, but loses nothing that further work needs. Events of the projects, other rows that name one of
    `needles`, and the history that `migrate-to` set aside are deleted too. A finished run whose events cannot be read
    may name one of `needles`, and is deleted.

    Args:
        platform: the platform of one root.
        needles: strings that identify the forgotten videos, such as their keys and addresses.
        projects: the names of the projects that contained the videos.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.catalog.database import compact_sqlite
    from data_miner_dagster.cli.dagster_tables import delete_dagster_rows, reclaim_dagster_space
    from data_miner_dagster.deployment import standing_dagster_home
    from data_miner_dagster.storage.layout import BEFORE_MOVE_NAME

    home = standing_dagster_home(platform.layout)
    with open_history(platform) as instance:
        if instance is None or home is None:
            return 0
        shutil.rmtree(home / BEFORE_MOVE_NAME, ignore_errors=True)
        run_ids = [run.run_id for run in _runs(instance) if _concerns(instance, run, needles, projects)]
        for run_id in run_ids:
            _delete_run(instance, run_id)
        _forget_in_events(instance, projects)
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

    from data_miner_dagster.catalog.failures import DATABASE_ERROR
    from data_miner_dagster.operations.upkeep.traces import text_forms
    from data_miner_dagster.partitions import PARTITION_TAG

    if not run.is_finished:
        return False
    if run.tags.get(PARTITION_TAG) in projects:
        return True
    forms = text_forms(needles)
    try:
        texts = (serialize_value(run), *map(serialize_value, instance.all_logs(run.run_id)))
    except DATABASE_ERROR:
        instance.get_run_by_id(run.run_id)  # raises unless only the events of this run cannot be read
        return True  # perhaps: the file of its events is damaged
    return any(form in text for text in texts for form in forms)


def _delete_run(instance: "dg.DagsterInstance", run_id: str) -> None:
    from data_miner_dagster.catalog.failures import DATABASE_ERROR
    from data_miner_dagster.history.pruning import remove_files_of

    try:
        instance.delete_run(run_id)
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    except DATABASE_ERROR:
        instance.get_run_by_id(run_id)  # raises unless only the file of its events is damaged
        remove_files_of(instance, run_id)
        instance.run_storage.delete_run(run_id)


def _forget_in_events(instance: "dg.DagsterInstance", projects: Collection[str]) -> None:
    """Delete events that have no run and belong to `projects` or to no partition, and the data derived from them.

    Dagster stores each asset's last materialization and a summary of its partitions. The former is overwritten, and
    the latter is deleted.
    """
    import dagster as dg
    from dagster._core.instance import RUNLESS_RUN_ID

    from data_miner_dagster.history.partition_state import delete_reported
    from data_miner_dagster.history.pruning import open_index

    with open_index(instance) as connection:
        delete_reported(connection, projects)
    storage = cast("Any", instance.event_log_storage)
    if hasattr(storage, "path_for_shard"):  # SQLite keeps a copy in a separate file
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            storage.delete_events_for_run(connection, RUNLESS_RUN_ID)
    for asset_key in instance.get_asset_keys():
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key, metadata={"status": _REMARK}))
        instance.wipe_asset_cached_status([asset_key])
