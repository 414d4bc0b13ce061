"""Write files and folders that appear complete or not at all.

Files written under a claim carry the claim's token in their temporary names and are published only if the claim is
still held. Two writers therefore never share a temporary file, and a writer that has lost its claim replaces nothing.
"""

import fcntl
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import DataMinerError

_FLUSHED_AT_ONCE: Final = 8
_FILES_A_PORTION: Final = 2_000

PARTIAL_MARK = ".partial-"
"""The prefix of the names of unfinished files and folders, which `sweep_partials` looks for."""


_ONLY: Final = "only"
"""The placeholder for a claim's token in the name of a locked temporary folder."""
_TOKEN_LENGTH: Final = 12
"""The number of leading characters of a claim's token that temporary names contain."""


class FolderInUseError(DataMinerError):
    """Another process is filling the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"another process is writing to {folder}; wait until it has finished")


@dataclass(eq=False, slots=True)
class _Publisher:
    token: str
    check: Callable[[], None]
    has_ended: bool = False


class _Publishers(threading.local):
    """The claims under which a thread publishes. The most recent claim that has not ended counts.

    Claims may end in any order and on any thread.
    """

    def __init__(self) -> None:
        self.entered: list[_Publisher] = []

    def present(self) -> _Publisher | None:
        while self.entered and self.entered[-1].has_ended:
            self.entered.pop()
        return self.entered[-1] if self.entered else None


_publishers = _Publishers()


@contextmanager
def publishing_as(token: str, check: Callable[[], None]) -> Iterator[None]:
    """Use a claim for everything that this thread publishes in the block.

    Args:
        token: the claim's token.
        check: the function that is called before anything is published. It raises if the claim is lost.
    """
    publisher = _Publisher(token, check)
    _publishers.entered.append(publisher)
    try:
        yield
    finally:
        publisher.has_ended = True


def check_publisher() -> None:
    """Raise an error if this thread writes under a claim that it has lost. Call this before publishing anything."""
    if (publisher := _publishers.present()) is not None:
        publisher.check()


def partial_name(name: str, token: str | None = None) -> str:
    """Return a temporary name for an unfinished file or folder. It keeps the suffix, since libraries rely on suffixes.

    Args:
        name: the final name.
        token: the token of the claim under which the file is written, or None for the claim under which this thread
            writes, if any. With None, each call returns a different name.
    """
    publisher = _publishers.present()
    known = token or (publisher.token if publisher is not None else uuid.uuid4().hex)
    return f"{PARTIAL_MARK}{known[:_TOKEN_LENGTH]}{'' if token else uuid.uuid4().hex[:4]}-{name}"


def is_partial_of(name: str, tokens: Iterable[str]) -> bool:
    """Return whether `name` is the temporary name of a file or folder written under a claim with one of `tokens`."""
    return name.removeprefix(PARTIAL_MARK).startswith(tuple(token[:_TOKEN_LENGTH] for token in tokens))


def _partial_sibling(path: Path) -> Path:
    return path.with_name(partial_name(path.name))


def flush(path: Path) -> None:
    """Flush one file, or one folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush everything in a folder to disk, including the folder itself.

    Files with another hard link (a release's image is also a frame) are not flushed again, because they were flushed
    under the other name.
    """
    folders = [folder]
    files = _files_to_flush(folder, folders)
    portion = list(islice(files, _FLUSHED_AT_ONCE))
    if len(portion) < _FLUSHED_AT_ONCE:
        for file in portion:
            flush(file)
    else:
        # In parallel, since the file system then commits many files at once. Sequentially, each file would wait for its
        # own commit, and the total would take ten times as long. In portions, since each pending file takes memory.
        with ThreadPoolExecutor(_FLUSHED_AT_ONCE, thread_name_prefix="flushing") as pool:
            while portion:
                for _ in pool.map(flush, portion):
                    pass
                portion = list(islice(files, _FILES_A_PORTION))
    for entry in reversed(folders):
        flush(entry)


def _files_to_flush(folder: Path, folders: list[Path]) -> Iterator[Path]:
    """Yield the files below a folder that have no other hard link. Add every subfolder to `folders`."""
    for parent, names, file_names in os.walk(folder):
        folders += [Path(parent, name) for name in names]
        for name in file_names:
            path = Path(parent, name)
            if path.lstat().st_nlink == 1:
                yield path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary sibling to write. On success, it replaces `path`. On an exception, it is removed.

    The bytes are flushed to disk before the rename, so a crash leaves the old file or the new one, never a partial one.
    If this thread has lost the claim under which it writes (`publishing_as`), the claim's error is raised, and `path`
    stays unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    try:
        yield partial
        flush(partial)
        check_publisher()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder to fill. On success, it replaces `path`. On an exception, it is removed.

    An existing `path` is moved aside first and removed afterwards. Between the two renames, `path` briefly does not
    exist, so readers rely on the manifest inside the folder. The files and folders are flushed to disk before the
    rename, and the parent folder after it, so whatever a crash leaves is complete. If this thread has lost the claim
    under which it writes (`publishing_as`), the claim's error is raised, and `path` stays unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial_sibling(path)
    partial.mkdir()
    with _becoming(partial, path):
        yield partial


@contextmanager
def only_atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the temporary sibling folder of `path` that a writer without a claim fills.

    On success, the sibling replaces `path`. The sibling always has the same name and is locked against other processes.
    Anything that a killed process left in it is removed first. On a file system that cannot lock folders, each writer
    gets its own temporary folder, and nothing is removed.

    Raises:
        FolderInUseError: another process is currently filling the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(partial_name(path.name, _ONLY))
    lock = _lock_folder(partial)
    if lock is None:
        with atomic_folder(path) as folder:
            yield folder
        return
    try:
        for entry in partial.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        with _becoming(partial, path):
            yield partial
    finally:
        os.close(lock)


def _lock_folder(folder: Path) -> int | None:
    """Create and lock a folder. Return the descriptor that holds the lock, or None if folders cannot be locked here.

    Raises:
        FolderInUseError: another process holds the lock.
    """
    while True:
        folder.mkdir(exist_ok=True)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # the previous process has just finished
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FolderInUseError(folder) from None
        except OSError:
            os.close(lock)
            with suppress(OSError):
                folder.rmdir()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), folder.stat()):
                return lock
        os.close(lock)  # the folder was renamed or removed in between


@contextmanager
def _becoming(partial: Path, path: Path) -> Iterator[None]:
    """Replace `path` with `partial`, the folder that the block fills. If the block raises, `partial` is removed."""
    is_published = False  # once this is True, the sibling's name may belong to another process
    try:
        yield
        flush_tree(partial)
        check_publisher()
        aside = _partial_sibling(path) if path.exists() else None
        if aside is not None:
            path.rename(aside)
        partial.rename(path)
        is_published = True
        if aside is not None:
            shutil.rmtree(aside)
        flush(path.parent)
    finally:
        if not is_published and partial.exists():
            shutil.rmtree(partial)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write `content` as sorted, indented JSON, atomically. The same content yields the same bytes."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def sweep_partials(folder: Path, name: str | None = None, *, keep: Path | None = None) -> int:
    """Remove the unfinished files and folders that killed writers left directly inside `folder`.

    Call this only under a claim on the folder, or on `name` in it. Everything unfinished then belongs to claims that
    have ended, whose holders are dead or must no longer publish.

    Args:
        folder: the folder, which need not exist.
        name: the final name whose unfinished versions are removed, or None for all unfinished files and folders.
        keep: an unfinished file or folder that must not be removed because the caller will continue with it, or None.

    Returns:
        The number of removed files and folders.
    """
    if not folder.is_dir():
        return 0
    leftovers = [
        entry
        for entry in folder.iterdir()
        if entry.name.startswith(PARTIAL_MARK)
        and entry != keep
        and (name is None or entry.name[len(PARTIAL_MARK) :].partition("-")[2] == name)
    ]
    for entry in leftovers:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    return len(leftovers)
