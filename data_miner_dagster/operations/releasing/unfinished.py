"""Provide the temporary root of a rebuild, and find and remove the roots that unfinished rebuilds left behind.

A rebuild that was killed, interrupted or ended by an error can leave its temporary root behind. The next rebuild of
the same release reuses the root's model results (parts of detections and vectors) and pictures around frames.
Fingerprints tell the stages which of these are missing. Everything else is created again.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.claims import hold_claim, live_claims
from data_miner_dagster.domain.errors import ClaimHeldError, ClaimLostError, ConfigError, DataMinerError
from data_miner_dagster.domain.keys import check_project_name
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.export.manifest import MANIFEST_FILE
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.inputs import python_and_machine, versions_of_packages
from data_miner_dagster.storage.atomic import PARTIAL_MARK, partial_name, sweep_partials, write_json
from data_miner_dagster.storage.detection_parts import remove_incomplete_parts
from data_miner_dagster.storage.layout import StorageLayout

REBUILD_CLAIM: Final = "rebuild"
"""The claim that allows only one rebuild of a root at a time."""
_WORK_NAME: Final = "rebuild"
_WAIT_SECONDS: Final = 60.0
_MARK_FILE: Final = "rebuild.json"
"""The file in a temporary root that states which release is being rebuilt, and with which package versions."""

logger = logging.getLogger(__name__)


class DifferentResultError(DataMinerError):
    """Raised if a rebuilt release has different bytes. The results are not kept, since they would differ again."""


@dataclass(frozen=True, slots=True)
class RebuildOf:
    """A release that is being rebuilt in a temporary root."""

    project: str
    version: str
    manifest_bytes: bytes

    def folder_in(self, root: Path) -> Path:
        """Return the path of the temporary root for this rebuild inside `root`."""
        return root / partial_name(_WORK_NAME, hashlib.sha256(self.manifest_bytes).hexdigest())

    @property
    def mark(self) -> dict[str, Any]:
        """The content of the mark file. A rebuild with different package versions starts from the beginning."""
        return {
            "project": self.project,
            "version": self.version,
            "packages": {**versions_of_packages(), **python_and_machine()},
        }


@contextmanager
def work_folder(root: Path, work: RebuildOf) -> Iterator[Path]:
    """Yield a temporary root inside `root`, on the same file system, so that files can be linked into it.

    The caller must hold REBUILD_CLAIM. If an unfinished rebuild of the same release, with the same package versions,
    left model results and pictures around frames in the temporary root, they are kept. Folders left behind by other
    rebuilds are removed.

    The temporary root is removed if the block succeeds or raises DifferentResultError. After any other exception, its
    model results and pictures stay for the next rebuild.
    """
    folder = work.folder_in(root)
    sweep_partials(root, _WORK_NAME, keep=folder)
    if _read_mark(folder) == work.mark:
        _keep_examined(folder, work.project)
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    write_json(folder / _MARK_FILE, work.mark)
    try:
        yield folder
    except ClaimLostError:  # another process may be using the folder
        raise
    except DifferentResultError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException as error:
        with suppress(OSError):
            _keep_examined(folder, work.project)
            if not (num_bytes := _own_bytes(folder)):
                shutil.rmtree(folder)
            elif isinstance(error, Exception):
                logger.info(
                    "rebuild: kept the results so far (%s) in %s; run the same command again to continue with them",
                    size_text(num_bytes),
                    folder.name,
                )
        raise
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class UnfinishedRebuild:
    """A temporary root left behind by a rebuild that is no longer running."""

    path: Path
    size_bytes: int  # bytes freed by removing it
    project: str
    version: str  # "", like `project`, if the release is unknown
    arguments: tuple[str, ...]
    """The `data-miner rebuild` arguments, except `--to`, that continue the work, or () if that is impossible."""
    is_of_these_packages: bool  # False if a rebuild with the installed package versions starts from the beginning


def find_unfinished_rebuilds(platform: Platform) -> list[UnfinishedRebuild]:
    """Return the temporary roots left behind by rebuilds, ordered by path. Nothing is changed.

    The list is empty while a rebuild is running, since that rebuild removes the roots that others left behind.
    """
    if any(claim.resource == REBUILD_CLAIM for claim in live_claims(platform.database)):
        return []
    folders = sorted(entry for entry in platform.root.iterdir() if is_unfinished_rebuild(platform, entry))
    return [_unfinished_rebuild(platform, folder) for folder in folders]


def is_unfinished_rebuild(platform: Platform, path: Path) -> bool:
    """Return whether a path is the temporary root of a rebuild."""
    is_named_so = path.name.startswith(PARTIAL_MARK) and path.name.endswith(f"-{_WORK_NAME}")
    return is_named_so and path.parent == platform.root and path.is_dir()


def _unfinished_rebuild(platform: Platform, folder: Path) -> UnfinishedRebuild:
    mark = _read_mark(folder)
    project, version = str(mark.get("project", "")), str(mark.get("version", ""))
    arguments: tuple[str, ...] = ()
    if mark and platform.layout.release_inputs(project, version).is_file():
        manifest = platform.layout.release_folder(project, version) / MANIFEST_FILE
        is_of_release = manifest.is_file() and (
            RebuildOf(project, version, manifest.read_bytes()).folder_in(platform.root) == folder
        )
        arguments = (project, "--version", version) if is_of_release else (project, "--manifest", "FILE")
    is_of_these_packages = mark == RebuildOf(project, version, b"").mark
    return UnfinishedRebuild(folder, _own_bytes(folder), project, version, arguments, is_of_these_packages)


def remove_unfinished_rebuild(platform: Platform, folder: Path) -> bool:
    """Remove the folder left behind by one rebuild unless a rebuild is running. Return whether it was removed."""
    try:
        with hold_claim(platform.database, REBUILD_CLAIM, wait_seconds=0):
            shutil.rmtree(folder, ignore_errors=True)
    except ClaimHeldError:
        return False
    return not folder.exists()


def remove_unfinished_rebuilds(platform: Platform) -> None:
    """Remove the folders left behind by all rebuilds, because they contain frames and pictures from videos.

    Raises:
        ClaimHeldError: a rebuild is still running after a minute.
    """
    with hold_claim(platform.database, REBUILD_CLAIM, wait_seconds=_WAIT_SECONDS):
        sweep_partials(platform.root, _WORK_NAME)


def _read_mark(folder: Path) -> dict[str, Any]:
    """Return the content of the mark file in a temporary root, or an empty dict if the file cannot be read."""
    try:
        content = json.loads((folder / _MARK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and _names_release(content) else {}


def _names_release(mark: Mapping[str, Any]) -> bool:
    try:
        return all(isinstance(mark[name], str) and check_project_name(mark[name]) for name in ("project", "version"))
    except (KeyError, ConfigError):
        return False


def _keep_examined(root: Path, project: str) -> None:
    """Remove everything from a temporary root except the mark, complete model results and pictures around frames."""
    layout = StorageLayout(root)
    kept = {
        root / _MARK_FILE,
        layout.embeddings,
        layout.windows,
        layout.detection_parts(project),
        layout.window_parts(project),
    }
    above = {root, layout.projects, layout.project_folder(project)}
    for folder in sorted(above):  # a folder before the folders inside it
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry in kept or entry in above:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    for folder in (layout.detection_parts(project), layout.window_parts(project)):
        remove_incomplete_parts(folder)


def _own_bytes(folder: Path) -> int:
    """Return the bytes that removing a temporary root would free. Linked files and the mark file do not count."""
    size_bytes = 0
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            with suppress(FileNotFoundError):
                state = path.lstat()
                is_own = state.st_nlink == 1 and not path.is_symlink() and path != folder / _MARK_FILE
                size_bytes += state.st_size if is_own else 0
    return size_bytes
