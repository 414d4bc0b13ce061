"""List the units of a root for a backup, which must read each unit in a consistent state while other processes write.

A unit is a folder whose files belong together, or a single file. Files are created by renaming, so an open file never
changes. A folder with a manifest is replaced as a whole, or its manifest is replaced. A unit is therefore consistent if
neither its folder nor any of its files changed while it was being read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.storage.atomic import PARTIAL_MARK
from data_miner_dagster.storage.layout import StorageLayout


@dataclass(frozen=True, slots=True)
class UnitFile:
    """The state of a file when its unit was listed."""

    path: str  # relative to the root, with "/"
    size_bytes: int
    mtime_ns: int
    inode: int
    link: str | None  # device and inode, or None if the file has no other hard link


@dataclass(frozen=True, slots=True)
class UnitState:
    """The inode of a unit's folder (0 if the unit is a file), and the unit's files, sorted by path."""

    inode: int
    files: tuple[UnitFile, ...]


def find_units(layout: StorageLayout) -> Iterator[Path]:
    """Yield the units of a root, folders or single files, in the order of `snapshots.sort_key`."""
    for path, depth in layout.kept_in_backups():
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from _units_below(path, depth)


def _units_below(folder: Path, depth: int | None) -> Iterator[Path]:
    for entry in _entries(folder):
        path = Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            if entry.is_file(follow_symlinks=False):
                yield path
        elif depth == 1:
            yield path
        else:
            yield from _units_below(path, None if depth is None else depth - 1)


def state_of(root: Path, unit: Path) -> UnitState | None:
    """Return the state of a unit, or None if the unit does not exist."""
    try:
        if unit.is_dir():
            return UnitState(unit.stat().st_ino, tuple(_files_below(root, unit)))
        return UnitState(0, (_unit_file(root, unit, unit.stat()),))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _files_below(root: Path, folder: Path) -> Iterator[UnitFile]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(root, Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield _unit_file(root, Path(entry.path), entry.stat(follow_symlinks=False))


def _unit_file(root: Path, path: Path, status: os.stat_result) -> UnitFile:
    link = f"{status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else None
    name = path.relative_to(root).as_posix()
    return UnitFile(name, status.st_size, status.st_mtime_ns, status.st_ino, link)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    """Return a folder's entries, sorted by name, without unfinished files. A missing folder counts as empty."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(PARTIAL_MARK)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda entry: entry.name)
