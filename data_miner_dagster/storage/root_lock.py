"""A lock on a whole root. It names its holder, and is released when all processes that hold it have ended.

Belongs here: the lock that one process per root can hold, such as `data-miner up`. The same kind of lock protects the
folder of a model that is being fetched. Does not belong here: claims on videos and projects (catalog/claims.py).
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
    """The process that holds a lock, and the time (UTC) at which it took the lock.

    `review_port` is the port on which the holder serves the review pages, or None if it does not serve them.
    """

    pid: int
    host: str
    since: str
    review_port: int | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"

    def is_gone(self) -> bool:
        """Return whether the process has certainly ended. Its child processes may still hold the lock.

        The result is False for a process on another host, about which nothing is known.
        """
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
    """Another process holds the lock. `holder` is None if the lock file does not name that process."""

    def __init__(self, path: Path, holder: LockHolder | None) -> None:
        super().__init__(f"{path} is locked by {holder or 'another process'}; wait until it has ended, or stop it")
        self.holder = holder


def take_root_lock(path: Path, *, review_port: int | None = None) -> int:
    """Lock the file at `path`, write the holder and its `review_port` into it, and return the open file's descriptor.

    The lock is released once the descriptor is closed here and in all child processes. The kernel (on NFS, the server)
    releases the lock of a process that ends, however it ends. The file remains, since only the lock counts.

    Raises:
        LockHeldError: another process holds the lock.
        OSError: the file cannot be opened or written, or the file system does not support locks.
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
    since = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    holder = LockHolder(os.getpid(), socket.gethostname(), since, review_port)
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(asdict(holder)).encode(), 0)
    return file


def is_root_locked(path: Path) -> bool:
    """Return whether a process holds the lock on the file at `path`. The file is not created, and no lock is kept.

    The result is False if the file cannot be opened or the file system does not support locks.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


def noted_review_port(path: Path) -> int | None:
    """Return the review pages' port as recorded by the latest holder of the lock, or None if no port can be read.

    The holder may no longer be running.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        holder = _holder(file)
    finally:
        os.close(file)
    return None if holder is None else holder.review_port


def _holder(file: int) -> LockHolder | None:
    try:
        content = json.loads(os.pread(file, _MOST_BYTES, 0))
        port = content.get("review_port")
        is_port = isinstance(port, int) and 0 < port < 2**16
        return LockHolder(int(content["pid"]), str(content["host"]), str(content["since"]), port if is_port else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
