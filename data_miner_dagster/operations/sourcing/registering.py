"""Register a project file: load it, check it, and store its content. Nothing is listed or downloaded."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.wording import reword_listings
from data_miner_dagster.config.interpolation import Interpolations
from data_miner_dagster.config.loading import (
    ParseFile,
    config_hash,
    load_project_file,
    parse_file,
    resolve_project_files,
)
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import (
    PlatformConfig,
    ProjectFile,
    interpolations_of_snapshot,
)
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.secret_names import is_secret_name
from data_miner_dagster.operations.comparisons import check_comparisons
from data_miner_dagster.operations.exemplars import find_exemplars
from data_miner_dagster.operations.logs import redacted
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_models_and_classes
from data_miner_dagster.operations.project_folder import limits_of_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredProject:
    """A registered project. `is_changed` is True if the project is new or its content changed."""

    name: str
    config_hash: str
    is_changed: bool


def register_project_file(
    platform: Platform,
    path: Path,
    *,
    taken: Mapping[str, Path] = MappingProxyType({}),
    parse: ParseFile = parse_file,
) -> RegisteredProject:
    """Load and check a project file, and store its content in the catalog.

    Relative paths are resolved against the file's folder. Registering an unchanged file again changes nothing.

    Args:
        platform: the platform of one root.
        path: the file.
        taken: names that are already in use, each with the file that uses it.
        parse: the parser, which runs in this process or in a separate one.

    Raises:
        ConfigError: the file is invalid, uses a name in `taken`, or differs from this root in `platform.extraction`; it
            names an exemplar, project, release or model that does not exist, or a class that its detector does not
            know; it uses a verifier, path, address or variable that is not allowed; or the root's stored sampling
            settings differ from the platform's.
    """
    path = path.absolute()
    limits = limits_of_file(platform, path)
    file = load_project_file(path, limits, parse)
    _check_addresses(file, limits, path)
    if file.name in taken:
        raise ConfigError(
            f"project {file.name!r} is already defined by {taken[file.name]}; rename one of the two projects"
        )
    _check_platform(platform.config, file, path)
    platform.check_sampling()
    known = find_project(platform.database, file.name)
    if known is not None and known.config_file not in (None, str(path)) and Path(str(known.config_file)).exists():
        logger.warning("project %s was registered from %s and is now read from %s", file.name, known.config_file, path)
    project = file.project
    check_comparisons(platform, file.name, project)
    find_exemplars(project.filtering, path.parent, limits)
    find_exemplars(project.detection, path.parent, limits)
    with suppress(ModelError):  # missing weights are not the file's fault
        check_models_and_classes(platform, project)
    digest = config_hash(project)
    is_changed = save_snapshot(platform.database, file.name, project.as_snapshot(), digest, str(path))
    if known is not None and project.interpolations != _interpolations_of(known):
        # Values that the settings now read from the environment are removed from messages of earlier listings.
        reword_listings(platform.database, file.name, project.shown.text)
    return RegisteredProject(file.name, digest, is_changed)


def _check_addresses(file: ProjectFile, limits: ProjectLimits, path: Path) -> None:
    for number, source in enumerate(file.sourcing.sources):
        if problem := limits.problem_of_source(source):
            raise ConfigError(f"{path}: sourcing.sources.{number}.{problem}")


def _interpolations_of(row: ProjectRow) -> Interpolations | None:
    """Return the settings of a stored project that came from the environment, or None if another version stored them.

    The new settings then replace them.
    """
    try:
        return interpolations_of_snapshot(row.config)
    except ValueError:
        return None


def is_withdrawn(platform: Platform, project: ProjectRow) -> bool:
    """Return whether a project's file has disappeared from the watched folder.

    The sources of such a project are no longer listed, but its data stays until `data-miner delete-project` removes it.
    A project is not withdrawn if its file was registered from another folder, or if the whole watched folder is
    missing, since the watched folder is then probably not mounted.
    """
    if project.config_file is None:
        return False
    path, folder = Path(project.config_file), resolve_project_files(platform.config, platform.layout.project_files)
    return path.parent == folder.absolute() and folder.is_dir() and not path.exists()


def _check_platform(running: PlatformConfig, file: ProjectFile, path: Path) -> None:
    """Compare the file's platform section with the running platform, and log a warning about differences.

    The sections `storage`, `logging` and `web` are not compared.

    Raises:
        ConfigError: the file sets a key of `platform.extraction` to a value that differs from the running platform's.
    """
    if "platform" not in file.model_fields_set:
        return
    for section_name in sorted(file.platform.model_fields_set - {"storage", "logging", "web"}):
        asked, has = getattr(file.platform, section_name), getattr(running, section_name)
        differing = [
            f"{name} differs"
            if is_secret_name(name) or name == "proxy"
            else redacted(f"{name} is {getattr(asked, name)!r} instead of {getattr(has, name)!r}")
            for name in sorted(asked.model_fields_set)
            if getattr(asked, name) != getattr(has, name)
        ]
        if not differing:
            continue
        if section_name == "extraction":
            raise ConfigError(
                f"{path}: platform.extraction differs from the running platform's ({'; '.join(differing)}); frames are "
                "shared by all projects of a root, so remove the section from this file, or use another --root"
            )
        logger.warning(
            "%s: platform.%s has no effect (%s), since data-miner was started with other settings; remove the section "
            "from this file, or start data-miner with these settings",
            path,
            section_name,
            "; ".join(differing),
        )
