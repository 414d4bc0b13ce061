"""Removing dynamic partitions, and what Dagster stores of their state: their keys count towards its limit of 100,000.

Dagster deletes one key a call, and shows a key that comes back as materialized still.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import dagster as dg

from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.history.partition_state import delete_partitions
from data_miner_dagster.history.pruning import open_index
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PARTITION_TAG, PROJECTS, RANGE_START_TAG, VIDEOS
from data_miner_dagster.runs import active_runs

_A_STATEMENT: Final = 500


def find_stray_keys(platform: Platform, instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Return the keys of each partition set that the catalog does not know, in order."""
    in_catalog = {
        VIDEOS: {video.key for video in find_videos(platform.database)},
        PROJECTS: {row.name for row in find_projects(platform.database)},
    }
    return {
        str(definition.name): [key for key in instance.get_dynamic_partitions(str(definition.name)) if key not in known]
        for definition, known in in_catalog.items()
    }


def remove_stray_keys(platform: Platform, instance: dg.DagsterInstance) -> tuple[int, int]:
    """Remove the keys that the catalog does not know, and their state; return how many went and how many have to wait.

    A key waits while a run is in flight on it, or on a range of videos, which may be bounded by it.
    """
    strays = find_stray_keys(platform, instance)
    free = {name: list(_not_in_use(instance, name, keys)) for name, keys in strays.items()}
    _remove_keys(instance, free)
    num_removed = sum(map(len, free.values()))
    return num_removed, sum(map(len, strays.values())) - num_removed


def _not_in_use(instance: dg.DagsterInstance, name: str, keys: Sequence[str]) -> Iterator[str]:
    active = active_runs(instance) if keys else []
    if name == VIDEOS.name and any(RANGE_START_TAG in run.tags for run in active):
        return
    at_work = {run.tags.get(PARTITION_TAG) for run in active}
    yield from (key for key in keys if key not in at_work)


def _remove_keys(instance: dg.DagsterInstance, keys_by_set: Mapping[str, Sequence[str]]) -> None:
    for name, keys in keys_by_set.items():
        for start in range(0, len(keys), _A_STATEMENT):
            with open_index(instance) as connection:
                delete_partitions(connection, name, keys[start : start + _A_STATEMENT])
    if any(keys_by_set.values()):
        instance.wipe_asset_cached_status(list(instance.get_asset_keys()))
