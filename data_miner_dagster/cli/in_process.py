"""Materialize a project's assets through Dagster in this process, for `run` and `demo`.

The sensors' planners also decide here what to run, so that the daemon and `data-miner run` agree.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import dagster as dg

from data_miner_dagster.assets.outcomes import FAILURE_KIND
from data_miner_dagster.catalog.holds import why_held
from data_miner_dagster.catalog.room import waiting_for_room
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.upkeep import reset_orphans
from data_miner_dagster.cli.interrupts import ending_on_interrupt
from data_miner_dagster.cli.options import platform_options
from data_miner_dagster.cli.progress import console, progress_lines
from data_miner_dagster.cli.upgrading import lines_before_work
from data_miner_dagster.config.loading import load_project_file
from data_miner_dagster.definitions import defs
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.domain.errors import (
    ConfigError,
    DataMinerError,
    ModelError,
    NothingToReleaseError,
    SystematicFaultError,
    TransientError,
)
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.jobs import DOWNLOAD_VIDEOS, LIST_SOURCES, PROJECT_JOBS, VIDEO_JOBS, forced_ops, is_ours
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_before_work
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.partitions import PROJECTS, VIDEOS, add_partitions
from data_miner_dagster.runs import end_dead_runs
from data_miner_dagster.sensors.in_flight import WORK_TAG
from data_miner_dagster.sensors.planning import MAX_KEYS_PER_RUN, plan_dataset, plan_stage_ranges, plan_video_work
from data_miner_dagster.sensors.states import project_states, video_states

MAX_ROUNDS: Final = 3
"""Each round requests every wanted video once. The next round requests those that have become due meanwhile."""

_ROOM_SECONDS: Final = 0.5
_ROOM_PATIENCE: Final = 60.0
"""How long downloads wait that have no room yet under the quota, and until when nobody else makes some."""

MAX_MENDINGS: Final = 5
"""Each repair removes all damaged files, so more than two or three mean that the disk corrupts what is written."""

_ERRORS: Final[Mapping[str, type[DataMinerError]]] = {
    error.__name__: error
    for error in (ConfigError, ModelError, NothingToReleaseError, SystematicFaultError, TransientError)
}
"""The error classes as which a run's failure is raised: those that callers or the exit status distinguish."""

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

logger = logging.getLogger(__name__)


class InProcessRunner:
    """Takes one project to its release, on a Dagster instance under the root and without a daemon."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance, project: str) -> None:
        self.platform = platform
        self.instance = instance
        self.project = project
        self.num_done = 0  # videos and projects that were processed, not counting those already current

    def execute(
        self,
        job: str,
        *,
        partition_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> DataMinerError | None:
        """Run one job. Return None if it succeeded, otherwise a one-line error of the failure's class, for raising."""
        run_config: dict[str, object] = {**_QUIET, "ops": forced_ops(job) if force else {}}
        result = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition_key,
            tags=dict(tags or {}),
            run_config=run_config,
            raise_on_error=False,
        )
        made = self.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        metadata = [entry.asset_materialization.metadata for entry in made if entry.asset_materialization is not None]
        self.num_done += sum(values["status"].value == OutcomeStatus.DONE.value for values in metadata)
        if failed := failed_checks(result):
            return DataMinerError(failed)
        if result.success:
            return None
        for event in result.get_step_failure_events():
            failure = event.step_failure_data
            if (described := failure.user_failure_data) is not None:
                kind = described.metadata.get(FAILURE_KIND)
                error = _ERRORS.get(str(kind.value) if kind is not None else "", DataMinerError)
                return error(str(described.description))
            if failure.error is not None:
                innermost = failure.error
                while innermost.cause is not None:
                    innermost = innermost.cause
                return DataMinerError(" ".join(innermost.message.split()))
        return DataMinerError(f"run {result.run_id} of {job} failed; `data-miner up` shows its log")

    def list_sources(self) -> None:
        """Materialize `project_videos`."""
        add_partitions(self.instance, PROJECTS, [self.project])
        if failure := self.execute(LIST_SOURCES, partition_key=self.project, force=True):
            raise failure

    def settle_and_build(self, *, force: bool) -> None:
        """Process every member as far as possible, then build the dataset. Repeat if damaged files were removed.

        Raises:
            NothingToReleaseError: nothing survived to the release.
            DataMinerError: a run failed as a whole.
        """
        for _ in range(MAX_MENDINGS):
            num_removed = self.platform.num_removed_files
            try:
                self.settle_videos()
                if self.platform.num_removed_files == num_removed:
                    self.build_dataset(force=force)
                    return
            except DataMinerError:
                if self.platform.num_removed_files == num_removed:
                    raise
            num_removed = self.platform.num_removed_files - num_removed
            logger.warning("%d damaged files were removed and are made again", num_removed)
        raise DataMinerError(f"files under {self.platform.root} are damaged again and again: check its disk")

    def settle_videos(self) -> None:
        """Materialize `videos`, `frames` and `frame_embeddings` of every member until no work is left for now."""
        asked: set[tuple[str, str]] = set()
        reset_orphans(self.platform.database)
        num_rounds, num_waiting, patient_until = 0, 0, time.monotonic() + _ROOM_PATIENCE
        while num_rounds < MAX_ROUNDS:
            num_asked = len(asked)
            for job in VIDEO_JOBS:
                self._ask_for_videos(job, asked)
            waiting = waiting_for_room(self.platform.database, self.project)
            if len(waiting) != num_waiting:
                num_waiting, patient_until = len(waiting), time.monotonic() + _ROOM_PATIENCE
            if waiting and time.monotonic() < patient_until:
                asked.difference_update((DOWNLOAD_VIDEOS, key) for key in waiting)
                time.sleep(_ROOM_SECONDS)
                continue
            if len(asked) == num_asked:
                return
            num_rounds += 1

    def _ask_for_videos(self, job: str, asked: set[tuple[str, str]]) -> None:
        states = video_states(self.platform, self.project)
        add_partitions(self.instance, VIDEOS, [state.key for state in states])
        ordered = self.instance.get_dynamic_partitions(VIDEOS.name or "")
        planned = plan_video_work(states, utc_now(), wait_for_others=True)
        work = next(work for work in planned if work.job == job)
        busy = [key for key in work.wanted if (job, key) in asked]
        ranges = plan_stage_ranges(work, ordered, busy, max_keys=MAX_KEYS_PER_RUN, max_ranges=len(ordered))
        asked.update((job, key) for key in work.wanted)
        for keys in ranges:
            logger.info("%s: %d videos", job, keys.num_keys)
            if failure := self.execute(job, tags=keys.tags):
                raise failure

    def build_dataset(self, *, force: bool) -> None:
        """Run each stage of the project. Tags the runs like the sensor's runs, so the daemon does not repeat them.

        Raises:
            NothingToReleaseError: nothing survived to the release.
            DataMinerError: a stage failed, or its result did not pass a check.
        """
        state = next(state for state in project_states(self.platform) if state.name == self.project)
        plan = plan_dataset(
            state,
            video_states(self.platform, self.project),
            utc_now(),
            wait_for_all=True,
            min_new_videos=1,
            num_released_videos=0,
        )
        for job in PROJECT_JOBS:
            tags = {WORK_TAG: plan.work_of(self.project, job)}
            if failure := self.execute(job, partition_key=self.project, tags=tags, force=force):
                raise failure


def failed_checks(result: dg.ExecuteInProcessResult) -> str:
    """Return one line with the failed checks of a run and the reasons, or "" if none failed."""
    return "; ".join(
        f"the check {check.check_name} of {check.asset_key.to_user_string()} failed: {check.description or 'no reason'}"
        for check in (
            event.asset_check_evaluation_data
            for event in result.all_events
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
        if not check.passed
    )


def check_not_held(platform: Platform, project: str) -> None:
    """Refuse to work on a project, or on anything, that a person has paused.

    Raises:
        DataMinerError: it is paused; the message says since when, why, and how to go on.
    """
    if (held := why_held(platform.database, project)) is not None:
        raise DataMinerError(f"{held}, then run again")


def run_project_file(config_file: Path, *, root: Path | None, profile: str | None, force: bool) -> InProcessRunner:
    """Take a project file to its release; return the runner, which knows what was done. Ctrl-C ends the process.

    Raises:
        ConfigError: there is a mistake that can be found before any work.
        NothingToReleaseError: nothing survived to the release.
        DataMinerError: a run failed as a whole, or a person paused the project.
    """
    options = platform_options(root, config_file, profile)
    parsed = load_project_file(config_file)
    platform = options.open()
    check_before_work(platform, parsed)
    for line in lines_before_work(platform, parsed.name):
        console.print(line)
    with ending_on_interrupt(), open_instance(platform) as instance, progress_lines():
        limit = platform.run_idle_limit
        for run_id in end_dead_runs(instance, platform.database, is_ours=is_ours, idle_limit=limit):
            logger.warning("ended run %s, whose process is gone or hangs", run_id)
        register_project_file(platform, config_file)
        check_not_held(platform, parsed.name)
        runner = InProcessRunner(platform, instance, parsed.name)
        runner.list_sources()
        runner.settle_and_build(force=force)
    return runner
