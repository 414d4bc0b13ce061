"""Manage the temporary folders of exports to a bucket or hub, including those left behind by killed exports.

An export in one format is written to a partial folder in the root, which is renamed before the files are sent. A killed
process can leave the partial or the renamed folder behind. Both contain copies of frames.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.claims import hold_claim, live_claims
from data_miner_dagster.domain.errors import ClaimHeldError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import PARTIAL_MARK, partial_name

_WORK_NAME: Final = "export"
_FOLDER_MARK: Final = partial_name(f"{_WORK_NAME}-", _WORK_NAME)
_WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class UnfinishedExport:
    """A folder left behind by a killed export to a bucket or hub."""

    path: Path
    size_bytes: int
    project: str


@contextmanager
def export_work_folder(platform: Platform, project: str) -> Iterator[Path]:
    """Yield the path for a new folder in the root to write an export to. The folder does not exist yet.

    Folders left behind by the project's killed exports are removed first. The folder is removed when the block ends.

    Raises:
        ClaimHeldError: another process is exporting a release of this project.
    """
    with hold_claim(platform.database, _claim_of(project), wait_seconds=0):
        _remove_leftovers(platform, project)
        folder = platform.root / _folder_name(project)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _folder_name(project: str) -> str:
    """Return the name of the folder. It never changes, so the folder can still be found after the export was killed."""
    return f"{_FOLDER_MARK}{project}"


def find_unfinished_exports(platform: Platform) -> list[UnfinishedExport]:
    """Return the folders left behind by killed exports, ordered by path. Folders of running exports are omitted."""
    claimed = {claim.resource for claim in live_claims(platform.database)}
    return [
        UnfinishedExport(path, _bytes_in(path), project)
        for path in sorted(platform.root.iterdir())
        if (project := exported_project(platform, path)) is not None and _claim_of(project) not in claimed
    ]


def exported_project(platform: Platform, path: Path) -> str | None:
    """Return the project whose export writes to this path, or None if it is not the path of an export's folder."""
    before, mark, project = path.name.partition(_FOLDER_MARK)
    is_named_so = bool(mark and project) and (not before or before.startswith(PARTIAL_MARK))
    return project if is_named_so and path.parent == platform.root and path.is_dir() else None


def remove_unfinished_export(platform: Platform, path: Path) -> bool:
    """Remove a folder left behind by an export unless the project is being exported. Return whether it was removed."""
    project = exported_project(platform, path)
    if project is None:
        return False
    try:
        with hold_claim(platform.database, _claim_of(project), wait_seconds=0):
            shutil.rmtree(path, ignore_errors=True)
    except ClaimHeldError:
        return False
    return not path.exists()


def remove_unfinished_exports(platform: Platform) -> None:
    """Remove the folders left behind by all killed exports, because they contain frames.

    Raises:
        ClaimHeldError: a project with such a folder is still being exported after a minute.
    """
    projects = {exported_project(platform, path) for path in platform.root.iterdir()} - {None}
    for project in sorted(str(name) for name in projects):
        with hold_claim(platform.database, _claim_of(project), wait_seconds=_WAIT_SECONDS):
            _remove_leftovers(platform, project)


def _claim_of(project: str) -> str:
    return f"{_WORK_NAME}/{project}"


def _remove_leftovers(platform: Platform, project: str) -> None:
    for path in list(platform.root.iterdir()):
        if exported_project(platform, path) == project:
            shutil.rmtree(path)


def _bytes_in(folder: Path) -> int:
    size_bytes = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                size_bytes += path.lstat().st_size
    return size_bytes
