"""Read the planner's records of projects from the catalog. No network, no decisions, and no file of any video."""

from functools import partial

from data_miner_dagster.catalog.projects import ask_for_looks, find_projects
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.item_faults import attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import is_withdrawn
from data_miner_dagster.sensors.planning import ProjectState


def project_states(platform: Platform) -> list[ProjectState]:
    """Return the state of every project. The one whose row was changed last comes last, so projects take turns.

    Those that are to look again at what their last build left out are given as not built.
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
    )
