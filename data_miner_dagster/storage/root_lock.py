"""A lock on a whole root: whoever has it says so, and it ends with the processes that hold it.

Belongs here: one `data-miner up` a root. Does not belong here: who works on which video or project (catalog/claims.py).
"""

import fcntl
import json
import os
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import DataMinerError

_MOST_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds a lock, and since when, in UTC."""

    pid: int
    host: str
    since: str

    def is_gone(self) -> bool:
        """Return whether it is certain that the process has ended; others that it started may hold the lock yet."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False


class LockHeldError(DataMinerError):
    """Another process has the lock; `holder` is None if it has not said yet who it is."""

    def __init__(self, path: Path, holder: LockHolder | None) -> None:
        super().__init__(f"{path} is locked by {holder or 'another process'}")
        self.holder = holder


def take_root_lock(path: Path) -> int:
    """Take the lock; return the open file that holds it, until it is closed here and wherever it was inherited.

    The file stays when the lock is gone: what counts is the lock, which the kernel (on NFS the server) takes back from
    a process that ends, however it ends.

    Raises:
        LockHeldError: another process has it.
        OSError: this file system has no locks.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(file)
        os.close(file)
        raise LockHeldError(path, holder) from None
    except OSError:
        os.close(file)
        raise
    holder = LockHolder(os.getpid(), socket.gethostname(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(asdict(holder)).encode(), 0)
    return file


def _holder(file: int) -> LockHolder | None:
    try:
        content = json.loads(os.pread(file, _MOST_BYTES, 0))
        return LockHolder(int(content["pid"]), str(content["host"]), str(content["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
