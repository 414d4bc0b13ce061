"""Detection of full disks. An item that failed because of a full disk may succeed once there is space."""

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
    "disk quota",  # PostgreSQL, in either case
)


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes or contexts, reports that a disk or quota is full.

    Libraries wrap the system's error in classes and messages of their own, which share only its number or its text.
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
    """Convert an `OSError` or `PermanentError` about a full disk to a transient failure of the current video.

    The message names `where`, a path or place on that disk.

    Raises:
        VideoTransientError: a disk or quota is full; the kind is DISK_FULL.
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
    """Return a message that tells the user that the disk containing `where` is full, and the remedy."""
    return (
        f"no space is left on the disk of {where}; free some space, then run the command again (`data-miner up` "
        "continues automatically)"
    )
