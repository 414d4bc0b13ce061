"""Messages about files and folders that cannot be written to, with the system's reason and the remedy.

Belongs here: the words. Does not belong here: full disks during the work on an item (full_disks.py), which is retried.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError

OTHER_ROOT: Final = "choose another root with --root or DATA_MINER_ROOT"


def unwritable_line(path: Path, error: OSError, other: str = OTHER_ROOT) -> str:
    """Return one line about a file or folder that could not be created or written to, with the reason and remedy.

    Args:
        path: the file or folder.
        error: the system's error.
        other: another remedy, which leaves the file or folder as it is.
    """
    if error.errno == errno.EROFS:
        return f"{path} is on a read-only file system; mount it writable, or {other}"
    reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} is not writable by this user ({reason}); change its permissions, or {other}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        other = f"free some space there, or {other}"
    return f"{path} cannot be created or written to ({reason}); {other}"


@contextmanager
def writing_to_root(root: Path) -> Iterator[None]:
    """Translate system errors that occur while a root is created or written to.

    Raises:
        ConfigError: the root cannot be created or written to.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"the root {unwritable_line(root, error)}") from error


def why_unwritable(folder: Path) -> str | None:
    """Return why the catalog's files cannot be created in `folder`, or None if they can or the folder is missing.

    The result is one line with the remedy. A read-only file system is checked separately, since the superuser passes
    every check of permissions.
    """
    try:
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return None
    if not is_read_only and os.access(folder, os.W_OK | os.X_OK):
        return None
    error = OSError(errno.EROFS if is_read_only else errno.EACCES, "", folder)
    return unwritable_line(folder, error, f"{OTHER_ROOT} (or, if a catalog URL is set, another URL)")


def unwritable_behind(error: BaseException) -> str | None:
    """Return one line about the file or folder on a read-only file system that caused `error`.

    Return None if `error` has another cause, or does not name the file.
    """
    if (
        not isinstance(error, OSError)
        or error.errno != errno.EROFS
        or not isinstance(error.filename, str | os.PathLike)
    ):
        return None
    return unwritable_line(Path(error.filename), error, "choose another path")
