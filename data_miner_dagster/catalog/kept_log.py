"""Hard links that preserve the write-ahead log of an SQLite catalog if a person deletes the log's files.

While processes have a database open, the `-wal` and `-shm` files beside it are part of the database. If these files are
deleted, processes that start later no longer find them, but the processes that are already running still use them. Each
side then continues with its own log, and both logs are eventually written to the same database file. So the processes
that use a catalog keep hard links to both files, and each process restores the files before it connects.

Belongs here: the links, and the locks that show whether any process uses them. Does not belong here: the log's
contents.

Source: https://sqlite.org/howtocorrupt.html, section 1.4 (unlinking of files in use); https://sqlite.org/wal.html
"""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, local
from typing import Final

logger = logging.getLogger(__name__)

_SUFFIXES: Final = ("-wal", "-shm")
_ATTEMPTS: Final = 100
_this_thread: Final = local()


class KeptLog:
    """Protects the write-ahead log of one SQLite file for one process. Thread-safe.

    If the file system does not support hard links or locks, connections are made without this protection.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._folder = file.with_name(f"{file.stem}_in_use")
        self._use: int | None = None
        self._mutex = Lock()

    def connect(self, make: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        """Return a new connection from `make` that uses the same write-ahead log as the other processes.

        Log files that were deleted while other processes were using them are restored first.
        """
        with self._mutex, self._door() as door_fd:
            if door_fd is None:
                return make()
            if self._use is None:
                self._use = self._begin_use()
            else:
                self._put_back()
            for _ in range(_ATTEMPTS):
                connection = make()
                try:
                    connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()  # opens the log
                    if self._keep():
                        return connection
                except BaseException:
                    connection.close()
                    raise
                # The files were deleted at this very moment, so this connection has opened new and empty ones.
                connection.close()
                self._put_back()
            return make()

    def put_back(self) -> None:
        """Restore deleted log files before the database file is opened without `connect`.

        If no process uses the database, only a log that remained after a crash is restored.
        """
        if not self._folder.is_dir():
            return
        with self._mutex, self._door() as door_fd:
            if door_fd is None:
                return
            if self._use is not None:
                self._put_back()
                return
            self._end_use(self._begin_use())

    def leave(self, close: Callable[[], None]) -> None:
        """Close the connections of this process by calling `close`. The last process to do so removes the links.

        When the last connection closes, SQLite deletes the log. No other process can connect at that moment, so none
        mistakes this deletion for one by a person.
        """
        if self._use is None:
            close()
            return
        if getattr(_this_thread, "is_at_a_door", False):
            # The garbage collector may finalize one object while another is connecting. A second lock on the same file
            # would wait for the first forever. The next process that connects alone removes the links.
            close()
            os.close(self._use)
            self._use = None
            return
        with self._mutex, self._door():
            close()
            self._end_use(self._use)
            self._use = None

    @contextmanager
    def _door(self) -> Iterator[int | None]:
        """Hold the lock under which the files are examined and changed. Only one process at a time can hold it.

        Yields the file descriptor of the lock, or None if the file system does not support locks or cannot be written
        to.
        """
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            door = os.open(self._folder / "door", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # a read-only or full file system, or a missing folder: the connection reports it
            yield None
            return
        try:
            try:
                fcntl.flock(door, fcntl.LOCK_EX)
            except OSError:
                yield None
                return
            _this_thread.is_at_a_door = True
            yield door
        finally:
            _this_thread.is_at_a_door = False
            os.close(door)

    def _begin_use(self) -> int:
        users = os.open(self._folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if _is_alone(users):
            self._put_back_after_crash()
            self._forget()
        else:
            self._put_back()
        fcntl.flock(users, fcntl.LOCK_SH)
        return users

    def _end_use(self, users: int) -> None:
        try:
            if _is_alone(users):
                self._forget()
        finally:
            os.close(users)

    def _put_back(self) -> None:
        """Restore the log files that other processes have open, unless they still exist under their names."""
        for suffix in _SUFFIXES:
            link, path = self._link(suffix), self._path(suffix)
            if not link.exists() or _same_file(link, path):
                continue
            replacement = self._folder / f"back{suffix}"
            with suppress(OSError):
                replacement.unlink(missing_ok=True)
                replacement.hardlink_to(link)
                replacement.replace(path)
                logger.warning("%s was deleted while the catalog was in use, and has been restored", path)

    def _put_back_after_crash(self) -> None:
        """Restore a deleted log that no process has open any more, if it contains data that the database file lacks.

        SQLite writes data to the log first and to the file later, so a log that is newer than the file contains more.
        """
        link, path = self._link("-wal"), self._path("-wal")
        with suppress(OSError):
            if not path.exists() and link.stat().st_size and link.stat().st_mtime_ns > self._file.stat().st_mtime_ns:
                path.hardlink_to(link)
                logger.warning("%s was deleted before it was copied into the catalog, and has been restored", path)

    def _keep(self) -> bool:
        """Create the missing hard links to the log files.

        Returns:
            False if a log file that SQLite needs is missing, or is not the one that other processes use.
        """
        for suffix in _SUFFIXES:
            link, path = self._link(suffix), self._path(suffix)
            if not path.exists():
                return suffix == "-shm" and not link.exists()  # SQLite may work without it when it is the only user
            if link.exists():
                if not _same_file(link, path):
                    return False
                continue
            try:
                link.hardlink_to(path)
            except FileNotFoundError:
                return False
            except OSError:  # no hard links on this file system
                return True
        return True

    def _forget(self) -> None:
        for suffix in _SUFFIXES:
            with suppress(OSError):
                self._link(suffix).unlink(missing_ok=True)

    def _link(self, suffix: str) -> Path:
        return self._folder / f"kept{suffix}"

    def _path(self, suffix: str) -> Path:
        return self._file.with_name(self._file.name + suffix)


def _is_alone(users: int) -> bool:
    """Return whether no other process is using the catalog. If so, this process now holds an exclusive lock."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
