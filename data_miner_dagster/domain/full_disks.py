"""Telling a store that takes nothing more from a bad item: whatever met it may succeed once there is room."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from data_miner_dagster.domain.errors import PermanentError, VideoTransientError
from data_miner_dagster.domain.reasons import VideoErrorKind

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_TEXTS: Final = (
    "No space left on device",
    "Disk quota exceeded",
    "database or disk is full",  # SQLite
    "disk quota",  # PostgreSQL, in capitals or not
)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or what it was raised from, says that a disk or a quota is full.

    Libraries pass the system's error on in classes and texts of their own; its number, or its words, are what they
    share.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        number = error.errno if isinstance(error, OSError) else None
        if number in _NO_ROOM or (number is None and any(text in str(error) for text in _TEXTS)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def disk_full_is_the_videos(where: object) -> Iterator[None]:
    """Let a full disk, whatever says so, be a failure of the video at hand that may pass.

    Raises:
        VideoTransientError: DISK_FULL.
    """
    try:
        yield
    except VideoTransientError:
        raise
    except (OSError, PermanentError) as error:
        if not is_disk_full(error):
            raise
        raise VideoTransientError(VideoErrorKind.DISK_FULL, disk_full_line(where)) from error


def disk_full_line(where: object) -> str:
    """Return what to tell the user."""
    return f"no space is left on the disk of {where}: free some; what failed is tried again"
