"""Builds of a project: what one would be made from now, and what the last one was made from.

A build begins with the first stage of `PROJECT_WAY` and ends with the last. A project is built again when what it would
be made from differs from what the last build began with.
"""

from data_miner_dagster.catalog.pending import project_basis
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.operations.platform import Platform


def present_basis(platform: Platform, row: ProjectRow) -> str:
    """Return the fingerprint of what a project would be built from now. Reads no file of any video.

    Raises:
        ModelError: the folder of a model is missing.
    """
    models = fingerprint_of({"models": [role.fingerprint for role in platform.models.roles]})
    return project_basis(row, models=models)


def begin_build(platform: Platform, project: str, stage: ProjectStage) -> None:
    """Record what a build begins with, if this is the stage that begins one. Before the stage reads anything."""
    if stage is not next(iter(PROJECT_WAY)):
        return
    row = find_project(platform.database, project)
    if row is not None and (basis := present_basis(platform, row)) != row.building_basis:
        update_project(platform.database, project, building_basis=basis)
