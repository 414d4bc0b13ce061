"""Load the planner's records about projects from the catalog, without using the network or video files."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from data_miner_dagster.catalog.attempts import last_failures
from data_miner_dagster.catalog.projects import ask_for_looks, find_projects
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.item_faults import attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import is_withdrawn
from data_miner_dagster.sensors.planning import (
    BUILD_STAGES,
    FailedStage,
    ProjectState,
    earliest_failure,
    standing_failure,
)

STAGES: Final = (WorkStage.SOURCING, *BUILD_STAGES)
"""The stages that work on a project, in order."""


def project_states(platform: Platform) -> list[ProjectState]:
    """Return the state of every project. The most recently changed project comes last, so that projects take turns.

    If the last build of a project left out files that are due to be checked again, a new build is requested first.

    Raises:
        ModelError: the folder of a model is missing.
    """
    found = find_projects(platform.database)
    if any(row.look_again_at is not None for row in found) and ask_for_looks(platform.database):
        found = find_projects(platform.database)
    rows = sorted(found, key=lambda row: (row.updated_at, row.name))
    return [_state_of(platform, row) for row in rows]


def _state_of(platform: Platform, row: ProjectRow) -> ProjectState:
    is_gone = attempt_alone("projects", row.name, partial(is_withdrawn, platform, row))
    return ProjectState(
        row.name,
        row.stage,
        is_sourced=row.sourced_config_hash == row.config_hash,
        is_withdrawn=is_gone is True,
        config_hash=row.config_hash,
        basis=present_basis(platform, row),
        built_basis=row.built_basis,
        config_file=row.config_file,
    )


def failures_by_project(platform: Platform, names: list[str]) -> dict[str, list[FailedStage]]:
    """Return the last failure at each stage of the named projects, by project, in no particular order.

    Projects without a failure are omitted.
    """
    found: dict[str, list[FailedStage]] = {}
    with platform.database.reading() as session:
        # Only the retry time counts here. With a fingerprint, a failure would be retried at every change.
        for row, due_at in last_failures(session, STAGES, names):
            failed = FailedStage(row.stage, due_at, row.basis, row.message, row.kind, row.run_id)
            found.setdefault(row.item, []).append(failed)
    return found


@dataclass(frozen=True, slots=True)
class StoppedProject:
    """A project that does not advance because a stage has failed. `config_file` is None if no file defines it."""

    name: str
    config_file: str | None
    failed: FailedStage

    @property
    def line(self) -> str:
        """One line with the project, the failure and the remedy."""
        return f"{self.name}: {self.failed.line}; {self.failed.remedy(self.name, self.config_file)}"


def stopped_projects(platform: Platform) -> list[StoppedProject]:
    """Return the projects that do not advance because a stage has failed, sorted by name."""
    rows = find_projects(platform.database)
    failures = failures_by_project(platform, [row.name for row in rows])
    stopped = []
    for row in rows:
        if failures.get(row.name) and (failed := _standing(platform, row, failures[row.name])):
            stopped.append(StoppedProject(row.name, row.config_file, failed))
    return stopped


def _standing(platform: Platform, row: ProjectRow, failures: list[FailedStage]) -> FailedStage | None:
    try:
        return standing_failure(_state_of(platform, row), failures)
    except DataMinerError:  # for example, a model is missing, which does not change the project's inputs
        return earliest_failure(failures)
