"""Write a consistent copy of the catalog to an SQLite file for a backup, and adapt such a copy to a restored root."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from sqlalchemy import delete, select, update

from data_miner_dagster.catalog.copying import catalog_tables, insert_rows, read_rows
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.kept_log import KeptLog
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.schema import ClaimRow, ProjectRow, utc_now
from data_miner_dagster.catalog.work_tables import BatchItemRow, RunLeaseRow, WorkBatchRow


def snapshot_catalog(database: Database, file: Path) -> None:
    """Write all committed data of an SQLite or PostgreSQL catalog to a new SQLite file, without delaying writers.

    SQLite's backup function reads the file in one step. PostgreSQL is read in one transaction that sees a single state.

    Raises:
        sqlite3.Error: an SQLite catalog cannot be read, or the new file cannot be written.
        SQLAlchemyError, DataMinerError: PostgreSQL cannot be read, or the copy of it cannot be written.
    """
    if database.file is not None:
        KeptLog(database.file).put_back()
        with closing(sqlite3.connect(database.file)) as source, closing(sqlite3.connect(file)) as target:
            source.backup(target)
        return
    copy = Database(sqlite_url(file))
    initialize(copy)
    with database.reading() as session, copy.engine.begin() as target_connection:
        source_connection = session.connection()
        for table in catalog_tables():
            insert_rows(target_connection, table, read_rows(source_connection, table))
    copy.dispose()


def settle_restored(file: Path, *, old_root: str, root: Path) -> None:
    """Migrate a restored catalog, and adapt it to a root where nothing is running. Repeating this changes nothing.

    Claims, leases and batches belong to processes that are not running here, so their work becomes free, as it does
    when a process is killed. If a project's file was under the old root, its path is changed to the new root.

    Raises:
        ConfigError: the catalog was created by a newer version of this package.
        CatalogError: the catalog is damaged.
        TransientError: the disk is full, or the file cannot be opened.
    """
    database = Database(sqlite_url(file))
    initialize(database)
    with database.transaction() as session:
        for table in (ClaimRow, RunLeaseRow, BatchItemRow):
            session.execute(delete(table))
        session.execute(
            update(WorkBatchRow)
            .where(WorkBatchRow.ended_at.is_(None))
            .values(ended_at=utc_now(), reason="restored from a backup")
        )
        for project in session.scalars(select(ProjectRow).where(ProjectRow.config_file.is_not(None))):
            project.config_file = _moved(str(project.config_file), old_root, root)
    database.dispose()
    for rest in _sidecars(file):
        rest.unlink(missing_ok=True)


def _moved(path: str, old_root: str, root: Path) -> str:
    before = PurePosixPath(path)
    return str(root / before.relative_to(old_root)) if before.is_relative_to(old_root) else path


def _sidecars(file: Path) -> Sequence[Path]:
    """Return the paths of the files that SQLite keeps beside a database.

    They contain nothing once the database has been closed.
    """
    return [file.with_name(f"{file.name}{suffix}") for suffix in ("-wal", "-shm")]
