"""Find backfills that are in progress, and those that ended as failed although none of their runs failed.

Dagster marks an asset backfill as failed (COMPLETED_FAILED) if a partition has no materialization by a run of the
backfill once all its runs are over (its function `_backfill_is_stalled`). A run of many videos succeeds even if some of
them have failed, or another run was processing them: they get an observation instead.
"""

from dataclasses import dataclass

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter, BulkActionStatus
from dagster._core.storage.tags import BACKFILL_ID_TAG


@dataclass(frozen=True, slots=True)
class IncompleteBackfill:
    """An asset backfill whose runs have succeeded without materializing all of its partitions."""

    backfill_id: str
    assets: tuple[str, ...]
    num_missing: int  # partitions without a materialization
    num_partitions: int


def active_backfills(instance: dg.DagsterInstance) -> set[str]:
    """Return the ids of the backfills that have not ended."""
    unfinished = [status for status in BulkActionStatus if status not in BULK_ACTION_TERMINAL_STATUSES]
    return {backfill.backfill_id for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=unfinished))}


def incomplete_backfill(instance: dg.DagsterInstance, backfill_id: str) -> IncompleteBackfill | None:
    """Return the asset backfill if it failed although none of its runs failed or was cancelled, or None otherwise."""
    backfill = instance.get_backfill(backfill_id)
    if backfill is None or backfill.status is not BulkActionStatus.COMPLETED_FAILED:
        return None
    data = backfill.asset_backfill_data
    ended = dg.RunsFilter(
        tags={BACKFILL_ID_TAG: backfill_id}, statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    )
    if data is None or instance.get_runs_count(ended):
        return None
    return IncompleteBackfill(
        backfill_id,
        tuple(sorted(key.to_user_string() for key in data.target_subset.asset_keys)),
        (data.target_subset - data.materialized_subset).num_partitions_and_non_partitioned_assets,
        data.target_subset.num_partitions_and_non_partitioned_assets,
    )
