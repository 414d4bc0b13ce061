"""Messages about files and folders that cannot be written to, with the system's reason and the remedy.

Belongs here: the words. Does not belong here: full disks (full_disks.py), which are retried.
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
        other: the remedy if the file or folder is to stay as it is.
    """
    if error.errno == errno.EROFS:
        return f"{path} is on a read-only file system; mount it writable, or {other}"
    reason = os.strerror(error.errno or 0)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} is not writable by this user ({reason}); change its permissions, or {other}"
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
    """Return why files cannot be created in `folder`, with the remedy, or None if they can or the folder is missing.

    The file system is asked, since the superuser may write to any folder except a read-only one.
    """
    try:
        is_read_only = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return None
    if not is_read_only and os.access(folder, os.W_OK | os.X_OK):
        return None
    return unwritable_line(folder, OSError(errno.EROFS if is_read_only else errno.EACCES, "", folder))


def unwritable_behind(error: BaseException) -> str | None:
    """Return one line about the file or folder on a read-only file system that caused `error`, or None if none did."""
    if (
        not isinstance(error, OSError)
        or error.errno != errno.EROFS
        or not isinstance(error.filename, str | os.PathLike)
    ):
        return None
    return unwritable_line(Path(error.filename), error, "choose another path")
