"""Build a project's release through Dagster in this process, for `run` and `demo`.

This process takes work from the catalog in batches, as the daemon's runs do, so it can work alongside a daemon.
"""

import logging
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import dagster as dg

from data_miner_dagster.asset_checks.video_files import report_checks
from data_miner_dagster.assets.outcomes import FAILURE_KIND
from data_miner_dagster.catalog.batches import end_batch, is_any_takeable, take_project_batch
from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.holds import WorkScope, lines_of_holds, why_held, work_within
from data_miner_dagster.catalog.pending import is_project_settled
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.sqlite_files import kept_open
from data_miner_dagster.catalog.upkeep import reset_orphans
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.cli.interrupts import ending_on_interrupt
from data_miner_dagster.cli.located_runs import locate_run
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
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import BATCH_TAG, VIDEO_STAGES
from data_miner_dagster.jobs import LIST_SOURCES, PROCESS_VIDEOS, PROJECT_JOBS, STAGE_BY_JOB, config_of
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_before_work, lines_of_models_to_fetch
from data_miner_dagster.operations.progress import progress_of
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.operations.upkeep.auditing import audit_files, settle_bases
from data_miner_dagster.partitions import PROJECTS, add_partitions
from data_miner_dagster.runs import innermost_message
from data_miner_dagster.sensors.lost_work import end_lost_work
from data_miner_dagster.sensors.requests import PROJECTS_TAG, VIDEOS_TAG
from data_miner_dagster.storage.dagster_home import dagster_history_files

MAX_ROUNDS: Final = 3
"""The maximum number of rounds. Each round processes all videos that are due when it begins."""
_LOOK_SECONDS: Final = 0.5

MAX_MENDINGS: Final = 5
"""The maximum number of repairs. Each removes all damaged files, so further damage means that the disk is faulty."""

_ERRORS: Final[Mapping[str, type[DataMinerError]]] = {
    error.__name__: error
    for error in (ConfigError, ModelError, NothingToReleaseError, SystematicFaultError, TransientError)
}
"""The error classes that callers or the exit status distinguish, by name."""

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

logger = logging.getLogger(__name__)


class InProcessRunner:
    """Runs the jobs of one project on the root's Dagster instance in this process, without a daemon."""

    def __init__(self, platform: Platform, instance: dg.DagsterInstance, project: str) -> None:
        self.platform = platform
        self.instance = instance
        self.project = project
        self.num_done = 0  # materializations, not counting results that were already current

    def execute(
        self,
        job: str,
        *,
        partition_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, object] | None = None,
    ) -> DataMinerError | None:
        """Run one job. Return None if it succeeded and passed its checks, otherwise an error for the caller to raise.

        The error has a one-line message. Its class is the failure's class if that is in `_ERRORS`, otherwise
        DataMinerError. `config` contains values for the configuration of the job's op.
        """
        run_config: dict[str, object] = {**_QUIET, "ops": config_of(job, **config) if config else {}}
        result = defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=partition_key,
            tags=dict(tags or {}),
            run_config=run_config,
            raise_on_error=False,
        )
        attempt_extra("run", job, partial(locate_run, self.instance, result.run_id))
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
                return DataMinerError(innermost_message(failure.error))
        return DataMinerError(
            f"run {result.run_id} of {job} failed without an error message; start `data-miner up` to read its log"
        )

    def settle_and_build(self, *, force: bool) -> None:
        """Process every member as far as possible, then build the dataset. Repeat both if damaged files were removed.

        Raises:
            NothingToReleaseError: no image is left to release.
            DataMinerError: a run failed as a whole, a result did not pass a check, a stage is closed or held, or files
                are repeatedly damaged.
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
            logger.warning("removed %s, which will be recreated", counted(num_removed, "damaged file"))
        raise DataMinerError(
            f"files under {self.platform.root} are damaged again after {MAX_MENDINGS} repairs; check the disk"
        )

    def settle_videos(self) -> None:
        """Download, extract and embed every member, with the three stages in parallel, until no work is due.

        First, the files of extracted members are examined, so that missing and stale ones are recreated. There are at
        most `MAX_ROUNDS` rounds, because members that keep becoming due could delay the build indefinitely. The
        method waits for other runs to finish their work, but not for later retries of failed videos.

        Raises:
            DataMinerError: a stage is closed or held, or a run failed as a whole.
        """
        settle_bases(self.platform)
        extracted = find_videos(self.platform.database, project=self.project, statuses=[VideoStatus.EXTRACTED])
        audit_files(self.platform, [video.key for video in extracted])
        for _ in range(MAX_ROUNDS):
            self._wait_for_others()
            if self._is_settled():
                return
            due = progress_of(self.platform, self.project)
            tags = {PROJECTS_TAG: self.project} | ({VIDEOS_TAG: str(due.num_open)} if due is not None else {})
            if failure := self.execute(PROCESS_VIDEOS, tags=tags, config={"project": self.project}):
                raise failure
            if not self._is_settled():
                self._check_not_stopped()

    def _is_settled(self) -> bool:
        with self.platform.database.reading() as session:
            return is_project_settled(session, self.project, utc_now())

    def _wait_for_others(self) -> None:
        """Wait while other runs work on this project or its videos, but only until this process can take a video.

        Runs whose process has died are ended.
        """
        is_said = False
        while True:
            for line in end_lost_work(lambda: self.instance, self.platform):
                logger.warning("%s", line)
            work = work_within(self.platform.database, WorkScope(self.project))
            if not work.num_in_flight or is_any_takeable(self.platform.database, self.project):
                return
            if not is_said:
                number = counted(work.num_in_flight, "piece of work", "pieces of work")
                logger.info("%s: waiting for other runs to finish %s", self.project, number)
                is_said = True
            time.sleep(_LOOK_SECONDS)

    def _check_not_stopped(self) -> None:
        """Raise an error with the reason if a hold or a closed stage keeps due work from starting."""
        if held := lines_of_holds(self.platform.database, self.project):
            raise DataMinerError(held[0])
        with self.platform.database.reading() as session:
            gates = [gate for gate in closed_stages(session) if gate.stage in VIDEO_STAGES]
        if gates:
            raise TransientError(
                f"{gates[0].stage.value.lower()} is closed until {gates[0].closed_until:%Y-%m-%d %H:%M:%S} UTC "
                f"({gates[0].reason}); run again after that"
            )

    def build_dataset(self, *, force: bool) -> None:
        """Run every stage of the project's build. With `force`, each stage runs even if its result is current.

        Raises:
            NothingToReleaseError: no image is left to release.
            DataMinerError: a stage failed or is held by a person, or its result did not pass a check.
        """
        for job in PROJECT_JOBS:
            if failure := self._execute_stage(job, force=force):
                raise failure

    def list_sources(self) -> None:
        """List the project's sources to find its videos.

        Raises:
            DataMinerError: the listing failed as a whole, or is held by a person.
        """
        add_partitions(self.instance, PROJECTS, [self.project])
        if failure := self._execute_stage(LIST_SOURCES, force=True):
            raise failure

    def _execute_stage(self, job: str, *, force: bool) -> DataMinerError | None:
        """Run a stage of the project in a batch, so that no planner requests it too; return the error, or None."""
        stage, database = STAGE_BY_JOB[job], self.platform.database
        if (held := why_held(database, self.project, stage)) is not None:
            return DataMinerError(held)
        # The batch is None in two cases. If another run has the batch, the job waits for that run's claim. If the stage
        # is closed, this run is a probe that a person started.
        batch = take_project_batch(database, stage, self.project)
        tags = {PROJECTS_TAG: self.project} | ({BATCH_TAG: str(batch.id)} if batch is not None else {})
        config = {"force": True} if force else {}
        failure = self.execute(job, partition_key=self.project, tags=tags, config=config)
        if batch is not None:
            done = [self.project] if failure is None else []
            end_batch(database, batch.id, "finished" if failure is None else str(failure), done=done)
        return failure


def failed_checks(result: dg.ExecuteInProcessResult) -> str:
    """Return one line that names a run's failed checks and their reasons, or "" if none failed."""
    return "; ".join(
        f"the check {check.check_name} of {check.asset_key.to_user_string()} failed: "
        f"{check.description or 'no reason given'}"
        for check in (
            event.asset_check_evaluation_data
            for event in result.all_events
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
        )
        if not check.passed
    )


def check_not_held(platform: Platform, project: str) -> None:
    """Raise if a person has paused the project or all work.

    Raises:
        DataMinerError: the work is paused. The message gives the time, the reason and the command that resumes the
        work.
    """
    if (held := why_held(platform.database, project)) is not None:
        raise DataMinerError(f"{held}, then run again")


def run_project_file(config_file: Path, *, root: Path | None, profile: str | None, force: bool) -> InProcessRunner:
    """Build the release of a project file, and return the runner, which counts the finished tasks.

    Once the work has begun, Ctrl-C ends the process immediately.

    Raises:
        ConfigError: the file or the settings contain a mistake. Most mistakes are found before any work begins.
        ModelError: a model is missing, cannot be loaded, or cannot be fetched.
        NothingToReleaseError: no image is left to release.
        DataMinerError: a run failed as a whole, a result did not pass a check, a stage is closed, a person has held the
            work, or files are repeatedly damaged.
    """
    options = platform_options(root, config_file, profile)
    parsed = load_project_file(config_file)
    platform = options.open()
    check_before_work(platform, parsed)
    for line in [*lines_of_models_to_fetch(platform, parsed), *lines_before_work(platform, parsed.name)]:
        console.print(line)
    with (
        ending_on_interrupt(),
        open_instance(platform) as instance,
        kept_open(dagster_history_files(Path(instance.root_directory))),
        progress_lines(platform.config.logging),
    ):
        for line in end_lost_work(lambda: instance, platform):
            logger.warning("%s", line)
        reset_orphans(platform.database)
        register_project_file(platform, config_file)
        check_not_held(platform, parsed.name)
        runner = InProcessRunner(platform, instance, parsed.name)
        runner.list_sources()
        runner.settle_and_build(force=force)
        missing = attempt_extra("checks", parsed.name, lambda: report_checks(platform, instance))
        for line in missing if isinstance(missing, list) else []:
            logger.warning("%s", line)
    return runner
