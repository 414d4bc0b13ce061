"""Copies of an SQLite catalog that are written into its folder before each migration."""

import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from glob import escape
from pathlib import Path

from data_miner_dagster.catalog.kept_log import KeptLog
from data_miner_dagster.domain.leftovers import remove_abandoned, scratch_folder


def copy_before_migration(file: Path, revision: str) -> Path:
    """Atomically copy a catalog that is at `revision`, and return the path of the copy.

    The copy contains all committed data, even if another connection is about to write. It replaces any earlier copy for
    the same revision. Unfinished copies of killed processes are removed.

    Raises:
        sqlite3.Error: the catalog cannot be read, or the copy cannot be written.
        OSError: the copy cannot be renamed or flushed.
    """
    copy = file.with_name(f"{file.stem}-{revision}{file.suffix}")
    # earlier versions did not use a folder
    remove_abandoned(file.parent.glob(f".partial-*-{escape(file.stem)}-????{escape(file.suffix)}*"))
    KeptLog(file).put_back()
    with scratch_folder(file.parent) as scratch:
        partial = scratch / copy.name
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        shutil.copymode(file, partial)
        partial.replace(copy)
        folder = os.open(copy.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # SQLite has flushed the file; this flushes its name
        finally:
            os.close(folder)
    return copy


def earlier_catalogs(file: Path) -> list[Path]:
    """Return the paths of the copies of a catalog from before its migrations, oldest revision first."""
    name = re.compile(rf"{re.escape(file.stem)}-\d{{4}}{re.escape(file.suffix)}")
    return sorted(entry for entry in file.parent.iterdir() if name.fullmatch(entry.name))


def keys_wanted_in_copies(file: Path) -> set[str]:
    """Return the keys of the videos that any project wanted when an earlier copy of the catalog in `file` was written.

    The frames of these videos must be kept, since a restored copy needs them. Unreadable copies are ignored.
    """
    wanted: set[str] = set()
    for copy in earlier_catalogs(file):
        with suppress(sqlite3.Error), closing(sqlite3.connect(f"{copy.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT DISTINCT video_key FROM project_videos WHERE status <> 'REJECTED'")
            wanted.update(key for (key,) in rows)
    return wanted
