"""Compute the inputs of a project's builds, and say whether the next build must wait for the end of a review.

A build runs from the first stage of `PROJECT_WAY` to the last. A project is rebuilt if its current inputs differ from
those at the start of its last build.
"""

import json
from datetime import datetime, timedelta

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.pending import project_basis
from data_miner_dagster.catalog.projects import find_project, find_projects, update_project
from data_miner_dagster.catalog.schema import ProjectRow, utc_now
from data_miner_dagster.catalog.verdicts import last_said_at
from data_miner_dagster.config.settings import RefreshConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage
from data_miner_dagster.operations.exemplars import exemplars_of, hashes_of
from data_miner_dagster.operations.platform import Platform


def present_basis(platform: Platform, row: ProjectRow) -> str:
    """Return the fingerprint of a project's current inputs, without reading the files of videos.

    Raises:
        ModelError: the folder of a model is missing.
    """
    models = fingerprint_of(
        {"models": [role.fingerprint for role in platform.models.roles], **_exemplar_hashes(platform, row)}
    )
    return project_basis(row, models=models)


def _exemplar_hashes(platform: Platform, row: ProjectRow) -> dict[str, object]:
    """Return the sha256 digests of a project's exemplars, or the reason why they cannot be read.

    The exemplars of prompts are under the key `exemplars`, and the exemplars of classes under `class_exemplars`.
    """
    hashes: dict[str, object] = {}
    for section, key in (("filtering", "exemplars"), ("detection", "class_exemplars")):
        if '"images"' not in json.dumps(row.config.get(section)):  # cheaper than loading the settings
            continue
        try:
            config = platform.project_config(row.name)
            found = exemplars_of(platform, row.name, config.filtering if section == "filtering" else config.detection)
        except ConfigError as error:
            hashes[key] = str(error)
        else:
            if found:
                hashes[key] = hashes_of(found)
    return hashes


def begin_build(platform: Platform, project: str, stage: ProjectStage) -> None:
    """Record the inputs of a project's build if `stage` is the first stage of a build.

    This must be called before the stage reads anything.

    Raises:
        ModelError: the folder of a model is missing.
    """
    if stage is not next(iter(PROJECT_WAY)):
        return
    row = find_project(platform.database, project)
    if row is not None and (basis := present_basis(platform, row)) != row.building_basis:
        update_project(platform.database, project, building_basis=basis)


def why_reviewed(database: Database, project: str, refresh: RefreshConfig, now: datetime) -> str | None:
    """Return why an automatic build must wait for the end of a review, or None if the build may start now.

    Every verdict changes the inputs of a release, so a release made during a review would soon be replaced.
    """
    last = last_said_at(database, project) if refresh.after_review_minutes else None
    if last is None:
        return None
    begins_at = last + timedelta(minutes=refresh.after_review_minutes)
    if begins_at <= now:
        return None
    unit = "minute" if refresh.after_review_minutes == 1 else "minutes"
    return (
        "people are reviewing the project; unless they answer again, its next build starts at "
        f"{begins_at:%H:%M:%S} UTC, {refresh.after_review_minutes:g} {unit} after the last answer; to build now, run "
        "`data-miner run --config FILE`"
    )


def lines_of_reviews(platform: Platform, project: str | None = None) -> list[str]:
    """Return a line for each project whose next build is waiting for the end of a review, or cannot be planned.

    A build cannot be planned if the project's stored settings do not fit this version, or if the folder of a model is
    missing. If `project` is given, only that project is considered.
    """
    lines = []
    for row in find_projects(platform.database):
        if project not in (None, row.name) or row.built_basis is None:
            continue
        try:
            refresh = platform.project_config(row.name).refresh
            why = why_reviewed(platform.database, row.name, refresh, utc_now())
            is_waiting = why is not None and row.built_basis != present_basis(platform, row)
        except (ConfigError, ModelError) as error:  # of this project alone
            why, is_waiting = str(error), True
        if is_waiting:
            lines.append(f"{row.name}: {why}")
    return lines
