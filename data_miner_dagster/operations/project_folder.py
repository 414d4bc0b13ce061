"""Find the folder against which a project's relative paths are resolved, and the files that a project may access."""

from pathlib import Path

from data_miner_dagster.config.loading import resolve_project_files
from data_miner_dagster.config.project_limits import ProjectLimits, limits_of
from data_miner_dagster.operations.platform import Platform


def base_folder_of(config_file: str | None) -> Path:
    """Return the folder against which relative paths in a project's configuration are resolved.

    It is the folder of the project's file, or the working folder if there is no file.
    """
    return Path(config_file).absolute().parent if config_file else Path.cwd()


def limits_of_file(platform: Platform, config_file: Path | str | None) -> ProjectLimits:
    """Return the limits on the files that a project may access.

    `config_file` is the file from which the project was read, or None if there is no file.
    """
    watched = resolve_project_files(platform.config, platform.layout.project_files)
    return limits_of(platform.config, watched, Path(config_file) if config_file is not None else None)
