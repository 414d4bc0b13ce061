"""Report failed Dagster runs and backfills on the terminal of `data-miner up`.

Belongs here: runs that have failed, whatever launched them, and backfills that count as failed although their runs
succeeded. Does not belong here: projects' failed stages, which
watching.py reports, or failed videos, whose runs succeed.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    import dagster as dg

    from data_miner_dagster.operations.platform import Platform

_WINDOW: Final = timedelta(minutes=10)
"""Each call to `look` finds failures that are at most this old. Machines' clocks are assumed to differ by less."""
_PATIENCE: Final = timedelta(seconds=60)
"""How long to wait for the planner, which records a stage's failure only after the run has ended."""
_MOST_LINES: Final = 5
_MOST_OF_A_REASON: Final = 300


class FailedRuns:
    """Reports runs that fail after the first call to `look`, each only once. Use it in a single thread, and close it.

    Backfills that end as failed although none of their runs failed are reported too.

    Args:
        platform: the platform of one root.
        address: the URL of Dagster's web server.
    """

    def __init__(self, platform: "Platform", address: str) -> None:
        self._platform = platform
        self._address = address
        self._instance: dg.DagsterInstance | None = None
        self._told: set[str] | None = None  # the ids of failed runs within the window
        self._backfills: set[str] = set()  # the ids of the backfills that had not ended
        self._opened = ExitStack()

    def close(self) -> None:
        """Close Dagster's instance."""
        self._opened.close()

    def look(self, explained: Iterable[str | None] = ()) -> list[str]:
        """Return a line for each run that has failed since the last call and within the last 10 min.

        Runs beyond the fifth share one line. The first call returns no lines. A run whose batch is still open is
        reported by a later call, at most about a minute after the run ended. Lines about backfills that have ended
        since the last call follow.

        Args:
            explained: the ids of runs to omit because other lines report their failures.
        """
        from data_miner_dagster.cli.dagster_history import open_history

        if self._instance is None:
            self._instance = self._opened.enter_context(open_history(self._platform))
        if self._instance is None:
            return []
        return [*self._of_runs(self._instance, explained), *self._of_backfills(self._instance)]

    def _of_backfills(self, instance: "dg.DagsterInstance") -> list[str]:
        from data_miner_dagster.history.backfills import active_backfills, incomplete_backfill

        active = active_backfills(instance)
        ended, self._backfills = sorted(self._backfills - active), active
        return [
            f"backfill {found.backfill_id} ({', '.join(found.assets)}) ended as failed although its runs succeeded: "
            f"{found.num_missing} of {counted(found.num_partitions, 'partition')} got no result from it, because their "
            "videos failed or other runs were processing them; run `data-miner videos --failed` to see which videos "
            f"failed and why; its page is {self._address}/runs/b/{found.backfill_id}"
            for backfill_id in ended
            if (found := incomplete_backfill(instance, backfill_id)) is not None
        ]

    def _of_runs(self, instance: "dg.DagsterInstance", explained: Iterable[str | None]) -> list[str]:
        import dagster as dg

        now = datetime.now(UTC)
        failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - _WINDOW)
        records = instance.get_run_records(failed, ascending=True)
        ids = {record.dagster_run.run_id for record in records}
        if self._told is None:
            self._told = ids
        new = [record for record in records if record.dagster_run.run_id not in self._told]
        if not new:
            self._told &= ids
            return []
        at_work = self._unsettled()
        ready = [
            record.dagster_run
            for record in new
            if not at_work & _names(record.dagster_run) or now.timestamp() - (record.end_time or 0) > _PATIENCE.seconds
        ]
        self._told = (self._told & ids) | {run.run_id for run in ready}
        told_elsewhere = set(explained)
        return self._lines([run for run in ready if run.run_id not in told_elsewhere])

    def _unsettled(self) -> set[str]:
        """Return the ids of the batches that the planner has not yet closed, and the ids of their runs."""
        from data_miner_dagster.catalog.batches import open_batches

        return {name for batch in open_batches(self._platform.database) for name in (str(batch.id), batch.run_id or "")}

    def _lines(self, runs: "list[dg.DagsterRun]") -> list[str]:
        lines = [self._line(run) for run in runs[:_MOST_LINES]]
        if len(runs) > _MOST_LINES:
            more = counted(len(runs) - _MOST_LINES, "more run has", "more runs have")
            lines.append(f"{more} failed; see {self._address}/runs")
        return lines

    def _line(self, run: "dg.DagsterRun") -> str:
        from data_miner_dagster.operations.logs import redacted
        from data_miner_dagster.runs import failure_line

        assert self._instance is not None
        reason = clean_text(redacted(failure_line(self._instance, run)), _MOST_OF_A_REASON) or "no reason is recorded"
        return f"run {run.run_id[:8]} ({_work_of(run)}) failed: {reason}; {self._remedy(run)}"

    def _remedy(self, run: "dg.DagsterRun") -> str:
        from data_miner_dagster.assets.outcomes import MAX_RETRIES_TAG, NO_RETRIES

        page = f"{self._address}/runs/{run.run_id}"
        if run.tags.get("dagster/will_retry") == "true":
            return f"Dagster starts it again; its log is at {page}"
        if run.tags.get(MAX_RETRIES_TAG) == NO_RETRIES:
            return f"`data-miner status` shows what is retried and when; its log is at {page}"
        return f"correct the cause, then re-execute the run at {page}"


def _names(run: "dg.DagsterRun") -> set[str]:
    from data_miner_dagster.domain.work import batch_in

    return {run.run_id, batch_in(run.tags) or run.run_id}


def _work_of(run: "dg.DagsterRun") -> str:
    """Return a run's assets, or its job if it has none, followed by its partition or range and its backfill, if any."""
    from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    what = ", ".join(assets) or run.job_name
    if partition := run.tags.get(PARTITION_TAG):
        what += f" of {partition}"
    elif start := run.tags.get(RANGE_START_TAG):
        what += f" of {start} to {run.tags.get(RANGE_END_TAG)}"
    backfill = run.tags.get("dagster/backfill")
    return f"{what}, backfill {backfill}" if backfill else what
