"""Translate errors from a damaged, full or inaccessible database into one line with a remedy."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, TimeoutError

from data_miner_dagster.catalog.kept_log import KeptLog
from data_miner_dagster.domain.errors import CatalogError, DataMinerError, TransientError
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.full_disks import disk_full_line, is_disk_full
from data_miner_dagster.domain.unwritable import why_unwritable

DATABASE_ERROR: Final = SQLAlchemyError
"""The base class of the database errors that `one_line_failures` does not translate."""

_DAMAGED: Final = ("malformed", "not a database", "unsupported file format")
_OUT_OF_REACH: Final = ("disk I/O error", "unable to open")
_NOT_WRITABLE: Final = "readonly database"


@contextmanager
def one_line_failures(engine: Engine, *, is_read_only: bool = False) -> Iterator[None]:
    """Translate database errors that concern the whole database into errors of this package.

    Other errors pass through: errors of single rows, which the caller handles, and errors from an unreachable
    PostgreSQL server.

    Raises:
        CatalogError: the database file is damaged.
        TransientError: the disk is full, or an SQLite file cannot be opened, read or written.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        if (translated := _translated(error, engine, is_read_only)) is None:
            raise
        raise translated from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, without the statement and link that SQLAlchemy adds."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def concerns_database(error: BaseException) -> bool:
    """Return whether an error concerns the whole database (unreachable or damaged) rather than a row or value.

    The result is True for `OperationalError`, `InterfaceError`, `TimeoutError` (no free connection), a plain
    `DatabaseError` (SQLite: not a database, malformed), a full disk, and any error that broke the connection. It is
    False for other errors, such as `IntegrityError` and `DataError`.
    """
    if isinstance(error, DBAPIError):
        return (
            error.connection_invalidated
            or isinstance(error, OperationalError | InterfaceError)
            or type(error) is DatabaseError
        )
    return isinstance(error, TimeoutError) or (isinstance(error, SQLAlchemyError) and is_disk_full(error))


def quick_check(path: Path) -> str | None:
    """Return the problem that SQLite finds in a database file, or None if it finds none.

    The result is also None if the file does not exist, is locked, or may not be read.
    """
    if not path.is_file():
        return None
    KeptLog(path).put_back()
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        # The message may quote a name from the file that is no longer valid text.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        # Locked, or no permission to write the -shm file beside it: the file itself is not at fault.
        return str(error) if any(word in str(error) for word in _DAMAGED) else None
    except sqlite3.DatabaseError as error:
        return str(error)
    except UnicodeDecodeError as error:  # SQLite's message may quote invalid text from the file
        return clean_text(error.object.decode(errors="replace"), 200) or "its schema is not valid text"
    return None if found == "ok" else clean_text(found, 200) or "no reason given"


def damaged_catalog(where: object, why: object) -> CatalogError:
    """Return the error for a damaged catalog, with the remedy."""
    return CatalogError(
        f"the catalog {where} is damaged ({why}); restore the file from a backup. Without a backup, move the catalog, "
        "and all files whose names begin with its name, to another folder, create a new catalog with "
        "`data-miner init-db`, and run the project files again: this finds the videos and frames again, but not "
        "people's verdicts or the history of releases"
    )


def _translated(error: DBAPIError | sqlite3.Error, engine: Engine, is_read_only: bool) -> DataMinerError | None:
    reason = str(error.orig if isinstance(error, DBAPIError) else error).splitlines()[0]
    where = engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string(hide_password=True)
    if is_disk_full(error):
        return TransientError(disk_full_line(f"the catalog {where}"))
    if engine.dialect.name != "sqlite":
        return None
    if any(word in reason for word in _DAMAGED):
        return damaged_catalog(where, reason)
    if any(word in reason for word in _OUT_OF_REACH) or (_NOT_WRITABLE in reason and not is_read_only):
        why = why_unwritable(Path(where).parent) if where else None
        told = f" ({reason}); check its disk, path and permissions" if why is None else f", because its folder {why}"
        return TransientError(f"the catalog {where} cannot be opened{told}")
    return None
