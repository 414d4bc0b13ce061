"""Taking a release out of the root: a copy of its own, verified file by file."""

import shutil
from pathlib import Path

from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export.manifest import MANIFEST_FILE, damaged_files, read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_folder


def export_release(platform: Platform, project: str, destination: Path, *, version: str | None = None) -> str:
    """Copy a release to `destination`, which must not exist, and check every file; return the version.

    Without `version`, the latest that was not withdrawn. What the manifest does not name is not copied.

    Raises:
        ConfigError: there is no such project or release, or the destination exists.
        DataMinerError: a file of the release is damaged; nothing is left at the destination.
    """
    platform.project_config(project)
    releases = {row.version: row.withdrawn_reason for row in platform.catalog.releases(project)}
    usable = [name for name, reason in releases.items() if reason is None]
    chosen = version or (usable[-1] if usable else None)
    if chosen is None or chosen not in releases:
        known = ", ".join(releases) or "none"
        raise ConfigError(f"project {project!r} has no release {version or 'to export'}; known: {known}")
    source = platform.layout.release_folder(project, chosen)
    manifest = read_manifest(source)
    if manifest is None:
        raise ConfigError(f"release {chosen} of {project!r} is not at {source} any more; restore it from a backup")
    if destination.exists():
        raise ConfigError(f"{destination} exists; name a folder that does not")
    with atomic_folder(destination) as folder:
        for name in (*sorted(manifest["files"]), MANIFEST_FILE):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(source / name, target)
            except FileNotFoundError:
                continue  # named below, with whatever else is wrong
        if damaged := damaged_files(folder):
            raise DataMinerError(f"release {chosen} of {project!r} is damaged: {damaged[0]}; nothing was exported")
    return chosen
