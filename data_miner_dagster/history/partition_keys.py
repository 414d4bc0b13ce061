"""Remove unused dynamic partitions and their state from Dagster, which allows at most 100,000 keys.

Dagster's own function deletes one key per call, and a key that is added again would still appear as materialized.
"""

from collections.abc import Mapping, Sequence
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
    """Return, for each partition set, the keys that Dagster has but the catalog does not, in Dagster's order."""
    # Dagster's keys are read first, because a new key is added to the catalog first.
    known = {name: instance.get_dynamic_partitions(name) for name in map(_name_of, (PROJECTS, VIDEOS))}
    in_catalog = {
        _name_of(PROJECTS): {row.name for row in find_projects(platform.database)},
        _name_of(VIDEOS): {video.key for video in find_videos(platform.database)},
    }
    return {name: [key for key in keys if key not in in_catalog[name]] for name, keys in known.items()}


def keys_not_in_use(instance: dg.DagsterInstance, name: str, keys: Sequence[str]) -> list[str]:
    """Return the keys among `keys`, from the partition set `name`, that no active run is using.

    While a run for a range of videos is active, all keys of videos count as used.
    """
    active = active_runs(instance) if keys else []
    if name == VIDEOS.name and any(RANGE_START_TAG in run.tags for run in active):
        return []
    at_work = {run.tags.get(PARTITION_TAG) for run in active}
    return [key for key in keys if key not in at_work]


def remove_stray_keys(platform: Platform, instance: dg.DagsterInstance) -> tuple[int, int]:
    """Remove the keys that are not in the catalog, with their state, except keys that are in use.

    Returns:
        A (number of removed keys, number of keys that stay because they are in use) pair.
    """
    strays = find_stray_keys(platform, instance)
    free = {name: keys_not_in_use(instance, name, keys) for name, keys in strays.items()}
    _remove_keys(instance, free)
    num_removed = sum(map(len, free.values()))
    return num_removed, sum(map(len, strays.values())) - num_removed


def _name_of(definition: dg.DynamicPartitionsDefinition) -> str:
    return str(definition.name)


def _remove_keys(instance: dg.DagsterInstance, keys_by_set: Mapping[str, Sequence[str]]) -> None:
    for name, keys in keys_by_set.items():
        for start in range(0, len(keys), _A_STATEMENT):
            with open_index(instance) as connection:
                delete_partitions(connection, name, keys[start : start + _A_STATEMENT])
    if any(keys_by_set.values()):
        instance.wipe_asset_cached_status(list(instance.get_asset_keys()))
