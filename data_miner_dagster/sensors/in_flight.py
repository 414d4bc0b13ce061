"""What is queued or running now, by partition: the part of level-triggering that only Dagster knows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import dagster as dg

from data_miner_dagster import __version__
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.jobs import ASSET_KEYS_BY_JOB
from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG, keys_between
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG
from data_miner_dagster.sensors.planning import MAX_FAILED_RUNS, next_try_at

WORK_TAG: Final = "data_miner/work"
"""Tag on every run that a sensor requests. Identifies the work, so that attempts at it can be counted."""
FAILED: Final = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def keys_in_flight(runs: Sequence[dg.DagsterRun], job: str, ordered_keys: Sequence[str]) -> set[str]:
    """Return the partition keys for which any of `runs` materializes an asset of `job`, however it was launched."""
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


def failures_of(
    instance: dg.DagsterInstance, work: str, statuses: Sequence[dg.DagsterRunStatus] = FAILED
) -> tuple[int, datetime | None]:
    """Return how many runs of a piece of work failed or were cancelled, and when the last of them ended.

    Ignores runs that were ended by a fault of this program, in any version.
    """
    records = instance.get_run_records(dg.RunsFilter(tags={WORK_TAG: work}, statuses=list(statuses)))
    records = [record for record in records if SYSTEMATIC_FAULT_TAG not in record.dagster_run.tags]
    return len(records), max((record.update_timestamp for record in records), default=None)


def num_ended_by_this_version(instance: dg.DagsterInstance, work: str) -> int:
    """Return how many runs of a piece of work were ended by a fault of this version of this package.

    Ignores faults of other versions, which this version may have fixed.
    """
    tags = {WORK_TAG: work, SYSTEMATIC_FAULT_TAG: __version__}
    return instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=list(FAILED)))


def why_it_waits(
    instance: dg.DagsterInstance,
    work: str,
    config: DownloadingConfig,
    statuses: Sequence[dg.DagsterRunStatus] = FAILED,
) -> str | None:
    """Return why a piece of work has to wait, or None if it may be requested now.

    Args:
        instance: Dagster's instance.
        work: the identity of the work, as runs carry it in `WORK_TAG`.
        config: the backoff settings.
        statuses: the statuses of a run that left the work undone.
    """
    if (by_faults := num_ended_by_this_version(instance, work)) >= MAX_FAILED_RUNS:
        return f"{by_faults} runs were ended by a fault of this program: it waits for another version"
    num_failed, last_failed_at = failures_of(instance, work, statuses)
    due = next_try_at(num_failed, last_failed_at, config)
    if due is None or due <= utc_now():
        return None
    return f"{num_failed} runs left it undone: tried again from {due:%Y-%m-%d %H:%M} UTC"


def count_runs(instance: dg.DagsterInstance, work: str, statuses: Sequence[dg.DagsterRunStatus] | None = None) -> int:
    """Return how many runs of a piece of work exist, optionally only those in `statuses`."""
    return instance.get_runs_count(dg.RunsFilter(tags={WORK_TAG: work}, statuses=list(statuses or [])))
