"""What is queued or running now, by partition: the half of level-triggering that only Dagster knows."""

from collections.abc import Sequence
from typing import Final

import dagster as dg

from data_miner_dagster.jobs import ASSET_KEYS_BY_JOB
from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, keys_between

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
        if (start := run.tags.get(RANGE_START_TAG)) is not None:
            busy.update(keys_between(ordered_keys, start, run.tags[RANGE_END_TAG]))
    return busy


def count_runs(instance: dg.DagsterInstance, work: str, statuses: Sequence[dg.DagsterRunStatus] | None = None) -> int:
    """Return how many runs at a piece of work there have been, of all or of some statuses."""
    return instance.get_runs_count(dg.RunsFilter(tags={WORK_TAG: work}, statuses=list(statuses or [])))
