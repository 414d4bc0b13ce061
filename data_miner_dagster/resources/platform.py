"""The platform as a Dagster resource, configured by the environment variables that `data-miner up` and `run` set."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import PrivateAttr

from data_miner_dagster.catalog.batches import set_run
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.catalog.leases import RunLease, hold_lease
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.sqlite_files import commit_unhurried, kept_open
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.work import batch_in, stage_of_asset
from data_miner_dagster.operations.logs import set_up_logging
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.tracing import span
from data_miner_dagster.storage.dagster_home import dagster_history_files


class PlatformResource(dg.ConfigurableResource[Any]):
    """The Dagster resource that provides assets, checks and sensors with the platform of this process.

    The process of a run holds the run's lease from before the first step until after the last.
    """

    _lease: RunLease | None = PrivateAttr(default=None)
    _error: Exception | None = PrivateAttr(default=None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator["PlatformResource", None, None]:
        """Yield this resource while holding the lease of the run, or without a lease if there is no run.

        If the lease cannot be taken, the first step fails with a one-line error. A run that was declared dead before
        its process reached this point is stopped.
        """
        run = context.run
        if run is None:
            yield self
            return
        with ExitStack() as stack:
            stack.enter_context(working_on(run_id=run.run_id, stage=_first_stage(run)))
            stack.enter_context(span(f"run {run.job_name}"))
            if context.instance is not None:
                home = Path(context.instance.root_directory)
                commit_unhurried(home)
                stack.enter_context(kept_open(dagster_history_files(home, run.run_id)))
            try:
                database, key = open_platform().database, run.tags.get("dagster/partition")
                project = key if key is not None and find_project(database, key) is not None else None
                stack.enter_context(working_on(project=project))
                self._lease = stack.enter_context(hold_lease(database, run.run_id, run.job_name, project))
            except (DataMinerError, DATABASE_ERROR) as error:
                self._error = error
            else:
                current = context.instance.get_run_by_id(run.run_id) if context.instance is not None else None
                self._lease.is_lost = current is not None and current.is_finished
                if (batch := batch_in(run.tags) or "").isdecimal():
                    set_run(open_platform().database, int(batch), run.run_id)
            yield self

    def open(self) -> Platform:
        """Return the platform, and set up logging to stderr, which Dagster stores with the run.

        Only the first call is expensive.

        Raises:
            DataMinerError: the platform cannot be opened, or the lease of the run could not be taken.
            sqlalchemy.exc.SQLAlchemyError: the catalog failed when the lease was taken.
        """
        if self._error is not None:
            raise self._error
        platform = open_platform()
        set_up_logging(platform.config.logging, only_if_unset=True)
        return platform if self._lease is None else platform.within(self._lease)


def _first_stage(run: dg.DagsterRun) -> str:
    """Return the stage of a run's assets in lower case, or its job's name if they have zero or several stages."""
    stages = {stage_of_asset(key.to_user_string()) for key in run.asset_selection or ()}
    only = stages.pop() if len(stages) == 1 else None
    return run.job_name if only is None else only.value.lower()
