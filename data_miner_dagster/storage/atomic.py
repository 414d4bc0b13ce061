"""Files and folders that appear whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PARTIAL_MARK = ".partial-"
"""In the name of everything unfinished, so that a sweep can tell."""


def _partial_sibling(path: Path) -> Path:
    # Keeps the suffix: libraries choose a format by it.
    return path.with_name(f"{PARTIAL_MARK}{uuid.uuid4().hex[:12]}-{path.name}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling to write; on success it replaces `path`, on an exception it is removed.

    The bytes are flushed to disk before the rename, so a crash leaves the old file or the new one, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill; on success it takes the place of `path`.

    An existing `path` is moved aside first and removed after, so between the two renames, a moment, there is none:
    readers decide by the manifest inside the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            aside = _partial_sibling(path)
            path.rename(aside)
            partial.rename(path)
            shutil.rmtree(aside)
        else:
            partial.rename(path)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` as sorted, indented JSON, atomically: same content, same bytes."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def sweep_partials(folder: Path, name: str | None = None) -> int:
    """Remove what killed writers left directly inside `folder`; return how many. Call it only under a claim.

    Where the folder is shared and the claim is on one `name` in it, only what was to become `name` is removed.
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
