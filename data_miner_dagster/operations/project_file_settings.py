"""Write the results of a calibration into the project's file."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.editing import with_settings
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_path


def project_file_of(platform: Platform, project: str) -> Path | None:
    """Return the file that a project was registered from, or None if it has no file or the file no longer exists."""
    row = find_project(platform.database, project)
    path = None if row is None or row.config_file is None else Path(row.config_file)
    return path if path is not None and path.is_file() else None


def write_settings(platform: Platform, project: str, section: str, settings: Mapping[str, object]) -> Path:
    """Write settings into one section of a project's file, and return the file's path.

    The settings take effect like a manual edit.

    Raises:
        ConfigError: the file does not exist, or cannot be changed safely and is therefore left unchanged.
    """
    path = project_file_of(platform, project)
    if path is None:
        raise ConfigError(
            f"project {project!r} has no file to write the settings to, or the file no longer exists; register a file "
            "with `data-miner populate --config FILE`, and try again"
        )
    path = path.resolve()  # write to the file, not to a link
    try:
        text = with_settings(path.read_text(encoding="utf-8"), section, settings)
        with atomic_path(path) as partial:
            partial.write_text(text, encoding="utf-8")
            shutil.copymode(path, partial)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or error) if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"{path} cannot be changed ({why}); correct this, or run the command again without --write, and add the "
            "printed settings to the file"
        ) from error
    return path
