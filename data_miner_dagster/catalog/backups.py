"""Copies of an SQLite catalog from before a migration, stored beside it."""

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_before_migration(file: Path, revision: str) -> Path:
    """Atomically copy a catalog that is at `revision`, and return the copy's path.

    The copy contains all committed data, even if another connection is about to write. It replaces an earlier copy of
    the same revision.
    """
    copy = file.with_name(f"{file.stem}-{revision}{file.suffix}")
    partial = copy.with_name(f".partial-{os.getpid()}-{copy.name}")
    try:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
        shutil.copymode(file, partial)
        partial.replace(copy)
        folder = os.open(copy.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # SQLite has flushed the file; this flushes its name
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
    return copy


def earlier_catalogs(file: Path) -> list[Path]:
    """Return the copies beside a catalog, oldest revision first."""
    name = re.compile(rf"{re.escape(file.stem)}-\d{{4}}{re.escape(file.suffix)}")
    return sorted(entry for entry in file.parent.iterdir() if name.fullmatch(entry.name))
