"""A run coordinator that tags each queued run with the cluster resources that it requests.

Sensors, schedules, backfills, the UI and `data-miner backfill` all submit their runs through the coordinator in
dagster.yaml, so every run gets these tags.
"""

import os

from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.storage.dagster_run import DagsterRun

from data_miner_dagster.config.environment import CONFIG_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.launching.tags import ASKED_TAG, KUBERNETES_TAG, RAY_TAG, tags_of_pools
from data_miner_dagster.operations.opening import open_platform


class PooledRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, extended to add the tags that `platform.cluster` sets for a run's pools."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Add the run's tags, put the run into the queue, and return it. If a person set resource tags, none are added.

        Raises:
            ConfigError: the environment of this process does not say which settings apply, or the settings are invalid.
        """
        run = context.dagster_run
        is_by_hand = ASKED_TAG not in run.tags and bool({RAY_TAG, KUBERNETES_TAG} & run.tags.keys())
        if not is_by_hand and (tags := _tags_of(run)):
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)


def _tags_of(run: DagsterRun) -> dict[str, str]:
    if not os.environ.get(ROOT_VARIABLE) and not os.environ.get(CONFIG_VARIABLE):
        raise ConfigError(
            f"neither {ROOT_VARIABLE} nor {CONFIG_VARIABLE} is set in the process that received this run, so its "
            "resources are unknown; set one of them for Dagster's web server and daemon"
        )
    pools = run.run_op_concurrency.all_pools if run.run_op_concurrency is not None else None
    return tags_of_pools(open_platform().config.cluster, pools or ())
