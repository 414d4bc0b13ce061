"""Writing files and folders that appear whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FLUSHED_AT_ONCE: Final = 8

PARTIAL_MARK = ".partial-"
"""Part of the name of everything unfinished, so that a sweep recognizes it."""


def _partial_sibling(path: Path) -> Path:
    # Keeps the suffix: libraries choose a format by it.
    return path.with_name(f"{PARTIAL_MARK}{uuid.uuid4().hex[:12]}-{path.name}")


def flush(path: Path) -> None:
    """Flush one file, or one folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush everything in a folder to disk, including the folder itself.

    Skips files with another hard link (a release's image is a frame): they were flushed under that name.
    """
    files, folders = [], [folder]
    for parent, names, file_names in os.walk(folder):
        folders += [Path(parent, name) for name in names]
        files += [path for path in (Path(parent, name) for name in file_names) if path.lstat().st_nlink == 1]
    if len(files) < _FLUSHED_AT_ONCE:
        for file in files:
            flush(file)
    else:
        # In parallel, so that the file system commits many files at once. One at a time, each waits for its own commit,
        # which takes ten times as long in all.
        with ThreadPoolExecutor(_FLUSHED_AT_ONCE, thread_name_prefix="flushing") as pool:
            for _ in pool.map(flush, files):
                pass
    for entry in reversed(folders):
        flush(entry)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write. On success it replaces `path`; on an exception it is removed.

    The bytes are flushed to disk before the rename, so a crash leaves the old file or the new one, never a partial one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    try:
        yield partial
        flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill. On success it replaces `path`.

    An existing `path` is moved aside first and removed afterwards. Between the two renames there is briefly no `path`;
    readers therefore rely on the manifest inside the folder. The files and folders are flushed to disk before the
    rename, and the parent folder after it, so whatever a crash leaves is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    partial.mkdir()
    try:
        yield partial
        flush_tree(partial)
        if path.exists():
            aside = _partial_sibling(path)
            path.rename(aside)
            partial.rename(path)
            shutil.rmtree(aside)
        else:
            partial.rename(path)
        flush(path.parent)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` as sorted, indented JSON, atomically. The same content yields the same bytes."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def sweep_partials(folder: Path, name: str | None = None) -> int:
    """Remove what killed writers left directly inside `folder` and return the count. Call this only under a claim.

    If `name` is given, remove only partial versions of `name`. Use it in a shared folder, when the claim covers only
    `name`.
    """
    if not folder.is_dir():
        return 0
    leftovers = [
        entry
        for entry in folder.iterdir()
        if entry.name.startswith(PARTIAL_MARK)
        and (name is None or entry.name[len(PARTIAL_MARK) :].partition("-")[2] == name)
    ]
    for entry in leftovers:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    return len(leftovers)
