"""Remove videos, projects and releases: rows first, then files, so that no row ever refers to a missing file.

If the process is killed in between, it leaves stray files, which `inspection.py` finds and removes.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.members import projects_wanting, take_out
from data_miner_dagster.catalog.projects import delete_project, find_project, update_project
from data_miner_dagster.catalog.releases import add_release, find_releases, withdraw_release
from data_miner_dagster.catalog.schema import ReleaseRow, utc_now
from data_miner_dagster.catalog.splits import delete_memory_of_project
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.verdicts import delete_verdicts_of_project
from data_miner_dagster.catalog.videos import delete_videos, unwanted_videos
from data_miner_dagster.config.loading import resolve_project_files
from data_miner_dagster.domain.errors import ClaimHeldError, ConfigError
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.export.manifest import is_release, read_manifest
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.split_memory import remember_releases
from data_miner_dagster.storage.layout import StorageLayout

_IN_USE: Final = "in use by a worker"


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of a removal: what was removed, what stayed with the reasons, and the number of bytes freed."""

    removed: tuple[str, ...]
    kept: dict[str, str]
    freed_bytes: int

    @property
    def in_use(self) -> list[str]:
        """The videos that were not removed because a worker held their claims."""
        return [key for key, why in self.kept.items() if why == _IN_USE]


def remove_videos(platform: Platform, video_keys: Iterable[str], *, force: bool = False) -> Removal:
    """Remove videos, their frames and their embeddings. Videos that a project wants stay unless `force` is set.

    Videos that a live worker holds always stay.
    """
    removed: list[str] = []
    kept: dict[str, str] = {}
    freed = 0
    keys = sorted(set(video_keys))
    wanting = {} if force else projects_wanting(platform.database, keys)
    for key in keys:
        if key in wanting:
            kept[key] = f"wanted by {', '.join(wanting[key])}"
            continue
        outcome = attempt_alone("delete-videos", key, partial(_remove_one, platform, key, force=force))
        if isinstance(outcome, ItemFault):
            kept[key] = outcome.line
        elif isinstance(outcome, str):
            kept[key] = outcome
        else:
            freed += outcome
            removed.append(key)
    return Removal(tuple(removed), kept, freed)


def _remove_one(platform: Platform, key: str, *, force: bool) -> int | str:
    """Remove one video. Return the number of bytes freed, or the reason why the video stays."""
    try:
        with platform.hold_video(key, wait_seconds=0):
            if not delete_videos(platform.database, [key], only_unwanted=not force):
                return "not in the catalog, or wanted again"
            return remove_files(video_files(platform.layout, key))
    except ClaimHeldError:
        return _IN_USE


def take_out_of_project(platform: Platform, project: str, video_keys: Iterable[str]) -> Removal:
    """Remove videos from one project. Its next release is built without them, and no listing adds them again.

    Other projects and existing releases keep the videos. Only `add-video` can add them to the project again.

    Raises:
        ConfigError: the project does not exist, or its stored settings do not fit this version.
        ClaimHeldError: a worker holds the project.
    """
    platform.project_config(project)
    keys = sorted(set(video_keys))
    with platform.hold_project(project, wait_seconds=0):
        taken = take_out(platform.database, project, keys)
        if taken:
            with platform.database.transaction() as session:
                move_project(session, project, ProjectStage.SOURCING)  # its derived tables are now stale
    return Removal(tuple(taken), {key: f"not a video of {project}" for key in keys if key not in taken}, 0)


def remove_unwanted_videos(platform: Platform) -> Removal:
    """Remove the videos that no project wants, with their files."""
    return remove_videos(platform, [video.key for video in unwanted_videos(platform.database)])


def remove_project(platform: Platform, name: str, *, with_files: bool, with_releases: bool = False) -> list[Path]:
    """Remove a project from the catalog. Its videos stay, for other projects or until `cleanup-orphans` removes them.

    Its previews are deleted. Its file in the watched folder gets the suffix `.removed`, since it would otherwise
    restore the project. `with_files` also removes its derived tables, its report, its students and people's verdicts on
    its frames. `with_releases` removes its releases.

    Returns:
        The removed folders and the renamed file.

    Raises:
        ConfigError: the project does not exist, or its stored settings do not fit this version.
        ClaimHeldError: a worker holds the project.
    """
    platform.project_config(name)
    layout = platform.layout
    touched: list[Path] = []
    with platform.hold_project(name, wait_seconds=0):
        row = find_project(platform.database, name)
        watched = resolve_project_files(platform.config, layout.project_files)
        if row is not None and row.config_file is not None:
            file = Path(row.config_file)
            if file.parent == watched and file.exists():
                touched.append(file.replace(file.with_name(f"{file.name}.removed")))
        delete_project(platform.database, name)
        with platform.database.transaction() as session:
            if with_files:
                delete_verdicts_of_project(session, name)
            if with_releases:
                delete_memory_of_project(session, name)  # a later project of this name has no earlier releases
        for folder in project_folders(layout, name, with_files=with_files, with_releases=with_releases):
            if folder.exists():
                shutil.rmtree(folder)
                touched.append(folder)
    return touched


def project_folders(layout: StorageLayout, name: str, *, with_files: bool, with_releases: bool) -> list[Path]:
    """Return the folders that `remove_project` removes with the same options. Some of them may not exist.

    The folders belong to this project alone.
    """
    folders = [layout.project_previews(name)]
    if with_files:
        folders += [layout.project_folder(name), layout.report_folder(name), layout.students_folder(name)]
    return [*folders, layout.releases_folder(name)] if with_releases else folders


def project_releases(layout: StorageLayout, name: str) -> list[Path]:
    """Return the folders of a project's releases."""
    folder = layout.releases_folder(name)
    return [entry for entry in sorted(folder.iterdir()) if is_release(entry)] if folder.is_dir() else []


def release_files(platform: Platform, project: str, version: str) -> list[Path]:
    """Return what `remove_release` removes: the folder of a release and its stored inputs, unless they are gone.

    Raises:
        ConfigError: the project has no such release, on disk or in the catalog.
    """
    folder = platform.layout.release_folder(project, version)
    if not is_release(folder) and version not in {row.version for row in find_releases(platform.database, project)}:
        raise ConfigError(
            f"project {project!r} has no release {version!r}; run `data-miner releases {project}` to list its releases"
        )
    return [path for path in (folder, platform.layout.release_inputs(project, version)) if path.exists()]


def remove_release(platform: Platform, project: str, version: str) -> None:
    """Remove the files of a release, and mark it as withdrawn in the catalog. An interrupted call can be repeated.

    The files may have been removed already. The version is not used again, and the splits and generations of the
    release's videos stay. Published copies stay, too.

    Raises:
        ConfigError: the project has no such release, on disk or in the catalog.
        ClaimHeldError: a worker holds the project.
        DataMinerError: the manifest of one of the project's releases is damaged.
    """
    with platform.hold_project(project, wait_seconds=0):
        paths = release_files(platform, project, version)
        remember_releases(platform, project)
        _record_release(platform, project, version)
        withdraw_release(platform.database, project, version, f"{utc_now():%Y-%m-%d}: deleted")
        row = find_project(platform.database, project)
        if row is not None and row.released_version == version:
            update_project(platform.database, project, released_version=None)
        remove_files(paths)


def _record_release(platform: Platform, project: str, version: str) -> None:
    """Add a release on disk to the catalog, which otherwise would not know that the version is taken."""
    manifest = read_manifest(platform.layout.release_folder(project, version))
    if manifest is not None:
        counts = {name: manifest[name] for name in ("fingerprint", "num_videos", "num_images", "num_boxes")}
        with platform.database.transaction() as session:
            add_release(session, ReleaseRow(project_name=project, version=version, **counts))


def video_files(layout: StorageLayout, video_key: str) -> list[Path]:
    """Return the existing files and folders that belong to one video alone."""
    folders = (layout.video_folder(video_key), layout.frames_folder(video_key), layout.windows_folder(video_key))
    found = (*folders, layout.video_preview(video_key))
    return [*(path for path in found if path.exists()), *layout.embedding_files(video_key)]


def remove_files(paths: Sequence[Path]) -> int:
    """Remove files and folders, and return their total size in bytes. Other hard links to the files stay valid."""
    freed = 0
    for path in paths:
        if path.is_dir():
            freed += sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
            shutil.rmtree(path)
        else:
            freed += path.stat().st_size
            path.unlink()
    return freed
