"""What is queued or running now, by partition: the half of level-triggering that only Dagster knows."""

from collections.abc import Sequence
from typing import Final

import dagster as dg

from data_miner_dagster import __version__
from data_miner_dagster.jobs import ASSET_KEYS_BY_JOB
from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, keys_between
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG

WORK_TAG: Final = "data_miner/work"
"""On every run that a sensor asks for: identifies the work, so that attempts at it can be counted."""


def keys_in_flight(runs: Sequence[dg.DagsterRun], job: str, ordered_keys: Sequence[str]) -> set[str]:
    """Return the partition keys on which any of `runs` works for an asset of `job`, however the run was launched."""
    wanted = ASSET_KEYS_BY_JOB[job]
    busy: set[str] = set()
    for run in runs:
        selection = run.asset_selection or ASSET_KEYS_BY_JOB.get(run.job_name, frozenset())
        if not wanted & set(selection):
            continue
        if (key := run.tags.get(PARTITION_TAG)) is not None:
            busy.add(key)
        start, end = run.tags.get(RANGE_START_TAG), run.tags.get(RANGE_END_TAG)
        if start is not None and end is not None:
            busy.update(keys_between(ordered_keys, start, end))
    return busy


def num_ended_by_other_versions(instance: dg.DagsterInstance, work: str) -> int:
    """Return how many runs at a piece of work were ended by a fault of another version of this package.

    They say nothing of this one.
    """
    runs = instance.get_runs(dg.RunsFilter(tags={WORK_TAG: work}))
    return sum(run.tags.get(SYSTEMATIC_FAULT_TAG, __version__) != __version__ for run in runs)


def num_ended_by_this_version(instance: dg.DagsterInstance, work: str, statuses: Sequence[dg.DagsterRunStatus]) -> int:
    """The same for this version."""
    tags = {WORK_TAG: work, SYSTEMATIC_FAULT_TAG: __version__}
    return instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=list(statuses)))


def count_runs(instance: dg.DagsterInstance, work: str, statuses: Sequence[dg.DagsterRunStatus] | None = None) -> int:
    """Return how many runs at a piece of work there have been, of all or of some statuses."""
    return instance.get_runs_count(dg.RunsFilter(tags={WORK_TAG: work}, statuses=list(statuses or [])))
