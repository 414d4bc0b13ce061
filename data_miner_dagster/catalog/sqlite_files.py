"""Smaller pages and cheaper commits for SQLite files that other libraries create and open through SQLAlchemy.

Belongs here: settings for other libraries' files. Does not belong here: the catalog's own file (database.py).
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, event

SMALL_PAGE_BYTES: Final = 1_024
"""A quarter of SQLite's default page size."""

_small: set[str] = set()
_unhurried: set[str] = set()


def use_small_pages(folder: Path) -> None:
    """Use small pages in the SQLite files that this process creates directly in a folder from now on.

    This saves space in folders with many files, since each empty table takes a page. It also saves space in files with
    large rows, which leave parts of large pages empty. Existing files do not change, and any program can read both
    kinds.
    """
    _listen()
    _small.add(os.path.realpath(folder))


def commit_unhurried(folder: Path) -> None:
    """Let this process commit to SQLite files anywhere under a folder without waiting for the disk.

    This applies to files that use write-ahead logging, which includes all files that this process creates. If the
    process dies, nothing is lost. A power failure may lose the last commits, but never damages the file.
    """
    _listen()
    _unhurried.add(os.path.realpath(folder))


@contextmanager
def kept_open(files: Iterable[Path]) -> Iterator[None]:
    """Keep a connection to each existing SQLite file open, without a transaction, while the block runs.

    The process that closes the last connection to a file copies the write-ahead log into it. A library that opens the
    file for every statement would copy the log each time.
    """
    with ExitStack() as stack:
        for file in files:
            with suppress(sqlite3.Error):  # missing or damaged: the code that needs the file reports it
                uri = f"{file.absolute().as_uri()}?mode=rw"
                connection = stack.enter_context(closing(sqlite3.connect(uri, uri=True, check_same_thread=False)))
                connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # also opens the log
        yield


def _listen() -> None:
    if not event.contains(Engine, "connect", _configure):
        event.listen(Engine, "connect", _configure)


@lru_cache(maxsize=64)
def _folders_of(file: str) -> tuple[str, ...]:
    return tuple(str(folder) for folder in Path(os.path.realpath(file)).parents)


def _configure(connection: object, _record: object) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
    if not file:
        return
    folders = _folders_of(file)
    if folders[0] in _small:
        connection.execute(f"PRAGMA page_size = {SMALL_PAGE_BYTES}")  # no effect on a file that has content
    if _unhurried.isdisjoint(folders):
        return
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        with suppress(sqlite3.OperationalError):  # another process is creating it
            connection.execute("PRAGMA journal_mode = WAL")
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        connection.execute("PRAGMA synchronous = NORMAL")
