"""Check and resolve the names in `against_projects` and `against_releases`, before any work starts.

Belongs here: looking a name up in the catalog and the folders. Imports are light, because Dagster's definitions import
this module. Does not belong here: reading the frames of a named project or release (deduplication/others.py).
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from data_miner_dagster.catalog.projects import find_project, find_projects
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.config.problems import did_you_mean
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.split_memory import release_versions


def check_comparisons(platform: Platform, project: str, config: ProjectConfig) -> None:
    """Check the names in `against_projects` and `against_releases` in a project's configuration.

    A name in the project's stored configuration is accepted even if its project or release has since been deleted.

    Raises:
        ConfigError: a new name is not a project or release, or `against_projects` contains the project itself.
    """
    row = find_project(platform.database, project)
    stored = row.config if row is not None else {}
    wanted = config.deduplication
    for other in wanted.against_projects:
        if other == project:
            raise ConfigError(
                f"deduplication.against_projects of {project} contains {project} itself; remove it from the list"
            )
        if other not in _names_in(stored, "against_projects") and find_project(platform.database, other) is None:
            known = [known.name for known in find_projects(platform.database) if known.name != project]
            raise ConfigError(
                f"deduplication.against_projects of {project} names {other!r}, which is not a project"
                f"{did_you_mean(other, known) if known else '; remove it from the list'}"
            )
    for release in wanted.against_releases:
        exists = images_table(folder_of_release(platform, release)).exists() or was_released(platform, release)
        if release not in _names_in(stored, "against_releases") and not exists:
            raise no_release(platform, project, release)


def _names_in(stored: Mapping[str, Any], key: str) -> Collection[str]:
    """Return the names under a key of a stored configuration's section `deduplication`.

    The configuration is not validated, because a project whose stored settings do not fit this version must still be
    registered again.
    """
    section = stored.get("deduplication")
    return section.get(key, ()) if isinstance(section, dict) else ()


def no_release(platform: Platform, project: str, release: str) -> ConfigError:
    """Return the error for a release that does not exist, although the settings of `project` name it.

    If the project that `release` names has releases, the message suggests the closest one, or lists all of them.
    """
    name = release.partition("/")[0]
    versions = [f"{name}/{version}" for version in release_versions(platform, name)]
    return ConfigError(
        f"deduplication.against_releases of {project} names {release!r}, which is not a release"
        f"{did_you_mean(release, versions) if versions else '; remove it from the list'}"
    )


def folder_of_release(platform: Platform, release: str) -> Path:
    """Return the folder of the release `project/version`."""
    name, _, version = release.partition("/")
    return platform.layout.release_folder(name, version)


def was_released(platform: Platform, release: str) -> bool:
    """Return whether the catalog records the release `project/version`, even if it was withdrawn or deleted."""
    name, _, version = release.partition("/")
    return any(row.version == version for row in find_releases(platform.database, name))
