"""Temporary files and folders of writers without a claim. If a writer is killed, the next one removes what it left.

A writer holds a lock on its temporary folder. The kernel releases the lock of a process that ends, however it ends.
Files are not locked, since over SMB a locked file can be neither written nor read through another descriptor; they are
removed when they are older than any process that can still be writing them.

Belongs here: these locks, and the removal. Does not belong here: writers under a claim (storage/atomic.py), whose
claim shows that they are alive.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

_FOLDER_SECONDS: Final = 3600.0
"""A folder that was modified more recently is not removed even if no process holds it: a writer needs a moment to hold
what it has created, and earlier versions of this package held nothing."""
_FILE_SECONDS: Final = 24 * 3600.0
"""A file that was modified more recently is not removed: its writer may be reading it back from a slow disk."""
_PREFIX: Final = ".partial-"
_SCRATCH: Final = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
"""The names that `tempfile` gives to temporary folders."""


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new temporary folder in an existing folder, and remove it when the block ends.

    Temporary folders that killed processes left in `parent` are removed first.
    """
    remove_abandoned(entry for entry in parent.iterdir() if _SCRATCH.fullmatch(entry.name))
    with ExitStack() as locks, tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name:
        locks.enter_context(held(Path(name)))
        yield Path(name)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a temporary folder while the block runs, so that no process removes it as abandoned.

    On a file system that cannot lock folders, nothing is held, and `remove_abandoned` removes no folder.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def is_held(folder: Path) -> bool:
    """Return whether a process holds a temporary folder, or may hold it because the file system cannot lock folders.

    The result is False for a file, which is never held.
    """
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove those temporary files and folders whose writers have ended.

    A file stays if it was modified within the last day. A folder stays if a process holds it, if it was modified within
    the last hour, or if it cannot be locked. Whatever cannot be removed stays, too.
    """
    for path in list(paths):
        with suppress(OSError):
            age_seconds = time.time() - path.lstat().st_mtime
            if path.is_dir() and not path.is_symlink():
                if age_seconds >= _FOLDER_SECONDS:
                    _remove_unless_held(path)
            elif age_seconds >= _FILE_SECONDS:
                path.unlink()


def _remove_unless_held(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(lock)
