"""Measure the disk space that files take."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from data_miner_dagster.domain.keys import VIDEO_STEM
from data_miner_dagster.storage.atomic import PARTIAL_MARK
from data_miner_dagster.storage.layout import StorageLayout


def files_size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files below a folder. Missing files count as zero."""
    if not path.is_dir():
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return 0
    return _size_below(path, _size_of)


def rest_size(layout: StorageLayout, downloading: Collection[str]) -> int:
    """Return the size in bytes of everything under a root except video files and finished folders of frames.

    Two more kinds of files are excluded: partial files of the videos in `downloading`, because their space is already
    reserved, and files with another hard link, such as a release's images, because these are also frames.
    """
    total = 0
    for entry in _entries(layout.root):
        if entry.is_file(follow_symlinks=False):
            total += _own_size_of(entry)
        elif entry.is_dir(follow_symlinks=False) and Path(entry.path) not in (layout.videos, layout.frames):
            total += _size_below(entry, _own_size_of)
    for folder in _entries(layout.frames):
        if folder.name.startswith(PARTIAL_MARK):
            total += _size_below(folder, _own_size_of)
    for folder in _entries(layout.videos):
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False):
                total += 0 if folder.name in downloading else _size_below(entry, _own_size_of)
            elif entry.name.rpartition(".")[0] != VIDEO_STEM:
                total += _own_size_of(entry)
    return total


def _entries(folder: "Path | os.DirEntry[str]") -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size_below(folder: "Path | os.DirEntry[str]", size_of: "Callable[[os.DirEntry[str]], int]") -> int:
    total = 0
    for entry in _entries(folder):
        total += _size_below(entry, size_of) if entry.is_dir(follow_symlinks=False) else size_of(entry)
    return total


def _size_of(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _own_size_of(entry: "os.DirEntry[str]") -> int:
    """Return the size of a file in bytes, or 0 if the file has another hard link or is missing."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0
