import errno
import sqlite3

import pytest

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.full_disks import is_disk_full


def raised_from(cause: BaseException) -> BaseException:
    try:
        raise PermanentError("the table cannot be written") from cause
    except PermanentError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("write error: No space left on device"),
        raised_from(OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_is_disk_full__whatever_the_class(error: BaseException) -> None:
    assert is_disk_full(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        OSError(errno.ENOENT, "No such file", "No space left on device.mp4"),
        sqlite3.OperationalError("database is locked"),
        PermanentError("not a video"),
    ],
)
def test_is_disk_full__not_what_is_something_else(error: BaseException | None) -> None:
    assert not is_disk_full(error)
