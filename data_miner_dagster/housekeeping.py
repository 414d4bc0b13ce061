"""The job that removes old history and checks the files of videos. A schedule requests it once a day.

Belongs here: work that belongs to no project or video. Does not belong here: choosing the history to remove
(history/pruning.py).
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from data_miner_dagster.asset_checks.video_files import report_checks
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.history.partition_keys import remove_stray_keys
from data_miner_dagster.history.pruning import Ours, prune_history
from data_miner_dagster.jobs import ALL_ASSETS, JOBS
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.resources.platform import PlatformResource

PRUNE_HISTORY: Final = "prune_history"

OURS: Final = Ours(
    assets=[key for asset in ALL_ASSETS if isinstance(asset, dg.AssetsDefinition) for key in asset.keys],
    jobs=[*JOBS, PRUNE_HISTORY, "build_dataset"],  # the last is from earlier versions
)
"""The assets and jobs whose history may be removed."""


class PruneConfig(dg.Config):
    """The run configuration of the job `prune_history`."""

    older_than_days: int | None = None
    """How long runs are kept, in days. If it is None, `platform.storage.history_days` applies."""


@dg.op(name="prune")
def _prune(context: dg.OpExecutionContext, config: PruneConfig, platform: PlatformResource) -> None:
    opened = platform.open()
    _prune_history(context, config, opened)
    for line in report_checks(opened, context.instance):  # last, so that the new results are not pruned
        context.log.warning(line)


def _prune_history(context: dg.OpExecutionContext, config: PruneConfig, platform: Platform) -> None:
    removed, waiting = remove_stray_keys(platform, context.instance)
    context.log.info(
        f"removed {counted(removed, 'partition')} of deleted videos and projects; "
        f"{counted(waiting, 'more is', 'more are')} still in use"
    )
    days = config.older_than_days if config.older_than_days is not None else platform.config.storage.history_days
    if days is None:
        context.log.info("history is not removed, because platform.storage.history_days is null")
        return
    stay, now = timedelta(days=days), datetime.now(UTC)
    pruned = prune_history(context.instance, OURS, stay, now=now, own_run_id=context.run_id)
    context.log.info(pruned.line())


@dg.job(
    name=PRUNE_HISTORY,
    description="Removes old runs, ticks and logs, and the keys of deleted videos and projects, from Dagster's "
    "storage. Checks whether the files of every video exist.",
    executor_def=dg.in_process_executor,
)
def prune_history_job() -> None:
    """Remove old history and stray keys, and check the files of videos."""
    _prune()
