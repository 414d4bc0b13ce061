"""Record in Dagster that a person has held or resumed work, and cancel runs.

Belongs here: the instance's active runs, and observations. Does not belong here: Dagster's history
(dagster_history.py), or holds and batches in the catalog (catalog/holds.py, catalog/batches.py).
"""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from data_miner_dagster.cli.dagster_history import open_history

if TYPE_CHECKING:
    import dagster as dg

    from data_miner_dagster.catalog.holds import WorkScope
    from data_miner_dagster.operations.platform import Platform

_MOST_OBSERVED: Final = 25
_CANCEL_SECONDS: Final = 15.0


def observe(platform: "Platform", scope: "WorkScope", reason: str | None) -> None:
    """Record in Dagster that the work in `scope` is held for `reason` or, if `reason` is None, that it resumes.

    Each record is an observation of the stage's asset. A scope without a stage is recorded at downloading if it names
    videos, otherwise at releasing. At most the first 25 videos are recorded. Without a Dagster instance, nothing is
    recorded.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.deployment import standing_dagster_home
    from data_miner_dagster.domain.work import ASSETS, VIDEO_STAGES, WorkStage

    if standing_dagster_home(platform.layout) is None:
        return
    import dagster as dg

    stage = scope.stage or (WorkStage.RELEASING if scope.video_keys is None else WorkStage.DOWNLOADING)
    partitions: tuple[str | None, ...] = (None if stage in VIDEO_STAGES else scope.project,)
    if scope.video_keys is not None:
        partitions = scope.video_keys[:_MOST_OBSERVED]
    metadata = {"status": "resumed" if reason is None else f"held: {reason}", "what": str(scope)}
    with open_history(platform) as instance:
        if instance is None:
            return
        for partition in partitions:
            event = dg.AssetObservation(ASSETS[stage], partition=partition, metadata=dict(metadata))
            instance.report_runless_asset_event(event)


def cancel_batches(platform: "Platform", batches: "Mapping[int, str | None]") -> "Iterator[str]":
    """Mark batches as paused, cancel their unfinished runs, and yield a line for each of these runs.

    Each run gets up to 15 s to end. Unfinished work that is not held, such as work for other projects, continues in
    other runs.

    Args:
        platform: the platform of one root.
        batches: run ids by batch id. A run id is None if no run has taken the batch yet.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.catalog.holds import mark_paused
    from data_miner_dagster.sensors.lost_work import run_of_batch

    mark_paused(platform.database, batches)
    with open_history(platform) as instance:
        if instance is None:
            return
        for batch_id, run_id in sorted(batches.items()):
            run = instance.get_run_by_id(run_id) if run_id is not None else run_of_batch(instance, batch_id)
            if run is not None and not run.is_finished:
                yield _cancelled(instance, run)


def _cancelled(instance: "dg.DagsterInstance", run: "dg.DagsterRun") -> str:
    started = time.monotonic()
    name = f"run {run.run_id[:8]} ({run.job_name})"
    # Only a run that a code server started can be reached. `data-miner run` executes its runs in its own process.
    if not instance.run_coordinator.cancel_run(run.run_id):
        return f"{name} cannot be cancelled from here; if it is running in a terminal, press Ctrl-C there"
    while time.monotonic() - started < _CANCEL_SECONDS:
        current = instance.get_run_by_id(run.run_id)
        if current is None or current.is_finished:
            return f"{name} is no longer running"
        time.sleep(0.2)
    return f"{name} is still being cancelled"
