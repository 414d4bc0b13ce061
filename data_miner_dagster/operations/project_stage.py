"""Provide the context in which a stage works on a project.

The context holds the project's claim and updates the project's stage.

Belongs here: setting the project's stage when the work starts, ends, fails or is interrupted, and checking that the
previous stage is done. Does not belong here: the work itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.domain.at_work import working_on
from data_miner_dagster.domain.errors import ClaimLostError, NotReadyError, RunEndedError
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.statuses import PROJECT_WAY, STAGE_AFTER, ProjectStage
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.builds import begin_build
from data_miner_dagster.operations.charging import charging
from data_miner_dagster.operations.item_faults import attempt_extra, fault_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_fingerprint

_ORDER = list(ProjectStage)


class StageRun:
    """One stage's work on one project. The caller must hold the project's claim."""

    def __init__(self, platform: Platform, project: str, stage: ProjectStage) -> None:
        self._platform = platform
        self._project = project
        self._stage = stage
        self._has_begun = False
        self.counts: dict[str, int] = {}
        """Counts to store with the project's other counts when it moves to the next stage."""

    def begin(self) -> None:
        """Move the project to this stage, because its work starts now."""
        self._has_begun = True
        with self._platform.database.transaction() as session:
            move_project(session, self._project, self._stage, error=None)

    def finish(self) -> None:
        """Make the project wait for the next stage, or set it to COMPLETE after the last one.

        The project's row is changed only if work was done, or if the row lags behind the project's files.

        A row lags behind if the process was killed between writing files and rows, if an earlier stage ran again
        without changes, or if a build finds this stage's result already current.
        """
        row = find_project(self._platform.database, self._project)
        after = STAGE_AFTER[self._stage]
        if row is None:
            return
        is_behind = row.stage is ProjectStage.FAILED or _ORDER.index(row.stage) < _ORDER.index(after)
        is_build = row.building_basis != row.built_basis
        if not (self._has_begun or is_behind or is_build):
            return
        built = {"built_basis": row.building_basis} if after is ProjectStage.COMPLETE else {}
        with self._platform.database.transaction() as session:
            if not self._has_begun:
                move_project(session, self._project, self._stage)
            counts = {**row.counts, **self.counts}
            move_project(session, self._project, after, only_from={self._stage}, error=None, counts=counts, **built)
            store_spent(session, self._project)

    def fail(self, error: Exception) -> None:
        """Record the failed stage and the reason in the project's row."""
        self._move(ProjectStage.FAILED, f"{self._stage.word}: {fault_of(error).line}")

    def step_back(self) -> None:
        """Make the project wait for this stage again, if its work had begun."""
        if self._has_begun:
            self._move(PROJECT_WAY[self._stage].waiting, None)

    def _move(self, target: ProjectStage, error: str | None) -> None:
        def move() -> None:
            with self._platform.database.transaction() as session:
                move_project(session, self._project, target, error=error)
                store_spent(session, self._project, is_failed=True)

        # If this fails too, the caller still needs to see the original error.
        attempt_extra("stage of a project", self._project, move)


@contextmanager
def project_stage(platform: Platform, project: str, stage: ProjectStage) -> Iterator[StageRun]:
    """Hold a project for one of the stages of `PROJECT_WAY`.

    If the block succeeds, the project waits for the next stage, or is COMPLETE after the last one. The block calls
    `begin` before it changes anything. If its result is already current, it does not call `begin`, and the project's
    row stays the same unless the row lags behind. If the block raises, the project is FAILED, with the stage and the
    reason. If the block is interrupted or cancelled, or an earlier stage is not done, the project waits for this stage
    again, or its row stays the same if `begin` was not called.

    Raises:
        ClaimHeldError: another worker holds the project for longer than this one may wait.
        ClaimLostError: another worker took the project over while this one was suspended. The project's row is then not
            changed.
        RunEndedError: the run was ended from outside. The project's row is then not changed.
    """
    work = WorkStage(stage.value)
    meter = Meter(work, project, platform.run_id, of_process=True)
    with (
        working_on(stage=stage.word, project=project),
        charging(platform, project, work),
        platform.hold_project(project) as claim,
        meter.working(),
    ):
        run = StageRun(platform, project, stage)
        try:
            begin_build(platform, project, stage)
            with platform.working_under(claim):
                yield run
        except (ClaimLostError, RunEndedError):  # the project and its row belong to another worker now
            raise
        except NotReadyError:
            run.step_back()
            raise
        except Exception as error:
            run.fail(error)
            raise
        except BaseException:  # an interrupt, or cancellation by Dagster
            run.step_back()
            raise
        run.finish()


def require_table(platform: Platform, project: str, stage: ProjectStage) -> str:
    """Return the fingerprint of the table that a stage of the project has written.

    Raises:
        NotReadyError: the stage has not run yet.
    """
    fingerprint = read_fingerprint(platform.layout.table_of(project, stage))
    if fingerprint is None:
        raise not_ready(project, PROJECT_WAY[stage].asset)
    return fingerprint


def not_ready(project: str, asset: str) -> NotReadyError:
    """Return the error for a project whose `asset` must be materialized first."""
    return NotReadyError(
        f"project {project!r} has no {asset} yet; run `data-miner run --config FILE`, or first materialize that asset "
        "and the assets upstream of it"
    )
