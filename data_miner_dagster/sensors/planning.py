"""Determine which stage each project is waiting for, using pure functions over records.

Does not belong here: access to Dagster's instance, the catalog, files or the network. The catalog decides which videos
are due (catalog/pending.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.domain.work import WorkStage

BUILD_STAGES: Final = tuple(WorkStage(stage.value) for stage in PROJECT_WAY)
"""The stages of a build, in order."""


@dataclass(frozen=True, slots=True)
class ProjectState:
    """The planner's record of one project."""

    name: str
    stage: ProjectStage
    is_sourced: bool  # its sources have been listed with its current configuration
    is_withdrawn: bool  # its file has disappeared from the watched folder
    config_hash: str
    basis: str  # fingerprint of its current inputs
    built_basis: str | None  # fingerprint of the last finished build's inputs, or None if no build has finished
    config_file: str | None = None  # the file that its settings were read from, or None if they came from no file


@dataclass(frozen=True, slots=True)
class FailedStage:
    """The last failure of a project at a stage."""

    stage: WorkStage
    due_at: datetime | None  # when it may be retried, or None if something has to change first
    basis: str | None  # fingerprint of its inputs when it failed, or None if that was not recorded
    message: str
    kind: str = ""  # a `FailureKind`
    run_id: str | None = None

    @property
    def line(self) -> str:
        """One line with the failed stage, the reason and the run."""
        run = f" (run {self.run_id[:8]})" if self.run_id else ""
        return f"{self.stage.value.lower()} failed: {self.message}{run}"

    def remedy(self, project: str, config_file: str | None) -> str:
        """Return one line that says what the user can do, and what happens otherwise.

        `config_file` is the file that defines the project, or None if no file does.
        """
        if self.due_at is not None:
            return (
                f"it is retried after {self.due_at:%Y-%m-%d %H:%M} UTC; run `data-miner retry --project {project}` to "
                "retry it now"
            )
        file = f"edit {config_file}" if config_file else "change its settings, videos or verdicts"
        return f"it waits until something changes: {file}, or run `data-miner retry --project {project}`"


def earliest_failure(failures: Collection[FailedStage]) -> FailedStage:
    """Return the failure of the earliest stage, whether or not it is still valid. `failures` must not be empty."""
    return min(failures, key=_place)


def _place(failed: FailedStage) -> int:
    return list(WorkStage).index(failed.stage)


def standing_failure(project: ProjectState, failures: list[FailedStage]) -> FailedStage | None:
    """Return the valid failure of the earliest stage, or None if no failure is valid any longer.

    A failure without a retry time stays valid until the project's inputs differ from the inputs recorded with the
    failure, or indefinitely if no inputs were recorded.
    """
    for failed in sorted(failures, key=_place):
        present = project.config_hash if failed.stage is WorkStage.SOURCING else project.basis
        if failed.due_at is not None or failed.basis is None or failed.basis == present:
            return failed
    return None


def next_stage(project: ProjectState, failed: FailedStage | None) -> WorkStage | None:
    """Return the stage that a project is waiting for, or None if it has been built from its current inputs.

    A build in progress continues, even if its run has died. A stage whose result failed a check is repeated. A build
    that failed in any other way starts again with its first stage, since an earlier table may be the cause. Current
    results are reused.
    """
    if not project.is_sourced:
        return WorkStage.SOURCING
    for stage, place in PROJECT_WAY.items():
        work = WorkStage(stage.value)
        if failed is not None and failed.stage is work and project.stage is not ProjectStage.FAILED:
            return work  # its result failed a check: no later stage starts
        if project.stage is stage or (project.stage is place.waiting and work is not BUILD_STAGES[0]):
            return work
    is_current = project.basis == project.built_basis and project.stage is not ProjectStage.FAILED
    return None if is_current else BUILD_STAGES[0]


def why_not_yet(project: ProjectState, failed: FailedStage | None, now: datetime) -> str | None:
    """Return why a project's failed stage is not retried now, with the remedy.

    Return None if the stage may be retried, or if `failed` is None.
    """
    if failed is None or (failed.due_at is not None and failed.due_at <= now):
        return None
    return f"{failed.line}; {failed.remedy(project.name, project.config_file)}"
