"""The page size of SQLite files that other libraries create through SQLAlchemy.

Belongs here: a setting of files to come. Does not belong here: the catalog's own file (database.py).
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, event

SMALL_PAGE_BYTES: Final = 1_024
"""A quarter of the default."""

_folders: set[str] = set()


def use_small_pages(folder: Path) -> None:
    """Give the SQLite files small pages that this process creates directly in a folder from now on.

    For files that are many or have rows of about 2 kB: each empty table takes a page, and of a default page with two
    such rows a quarter stays free. Files that exist stay as they are, and any program reads both kinds.
    """
    if not _folders:
        event.listen(Engine, "connect", _set_page_size)
    _folders.add(os.path.realpath(folder))


def _set_page_size(connection: object, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        if file and str(Path(os.path.realpath(file)).parent) in _folders:
            connection.execute(f"PRAGMA page_size = {SMALL_PAGE_BYTES}")  # no effect on a file that has content
