"""The catalog's tables as a chain of numbered Alembic revisions, applied by `initialize`.

A change to the tables (catalog/schema.py, catalog/work_tables.py) needs a revision.
`python -m data_miner_dagster.catalog.migrations "what it adds"` writes the next one from the difference between the
chain and the tables. Review it before committing it.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, inspect, text

from data_miner_dagster.catalog.backups import copy_before_migration
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import one_line_failures
from data_miner_dagster.domain.errors import ConfigError, PermanentError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER: Final = Path(__file__).parent
_LOCK_NUMBER: Final = 0x646D_6361  # "dmca": the key of the advisory lock for this catalog's migrations


@dataclass(frozen=True, slots=True)
class Migration:
    """The migration of a catalog that an earlier version of this package created."""

    from_revision: str
    to_revision: str | None
    copy: Path | None
    """The copy of the catalog from before the migration, or None on PostgreSQL, where the owner backs up the server."""

    def __str__(self) -> str:
        """Return a one-line, human-readable description."""
        kept = (
            f"a copy of the earlier catalog is stored in {self.copy}"
            if self.copy is not None
            else "no copy of the earlier catalog exists"
        )
        return f"the catalog was migrated from revision {self.from_revision} to {self.to_revision}; {kept}"


def head_revision() -> str | None:
    """Return the newest revision, or None if there are no revisions.

    Only file names are read, so that Alembic does not have to be imported.
    """
    numbers = [path.stem[:4] for path in (FOLDER / "versions").iterdir() if re.match(r"\d{4}_\w+\.py$", path.name)]
    return max(numbers, default=None)


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a database, or None if it contains no tables from this package."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def has_tables(database: Database) -> bool:
    """Return whether the database contains tables from this package.

    Raises:
        TransientError: the database cannot be opened.
        CatalogError: the database is damaged.
    """
    database.check_connection()
    with one_line_failures(database.engine), database.engine.connect() as connection:
        return current_revision(connection) is not None


def initialize(database: Database) -> Migration | None:
    """Create the tables, or migrate them to the newest revision.

    This is idempotent, and several processes may do it concurrently.

    Returns:
        The migration of an earlier version's tables, or None if there were no tables or they were up to date.

    Raises:
        TransientError: the database cannot be opened, or the disk is full.
        CatalogError: the database is damaged.
        ConfigError: the database was created by a newer version of this package.
        PermanentError: a row would refer to a missing row after the migration.
    """
    database.check_connection()
    with one_line_failures(database.engine):
        return migrate(database.engine)


def migrate(engine: Engine) -> Migration | None:
    """Create the tables, or migrate them to the newest revision, in one transaction.

    An SQLite file from an earlier version is copied first. Several processes may call this concurrently: SQLite's write
    lock, or an advisory lock on PostgreSQL, lets one of them migrate while the others wait. A call for tables that are
    up to date is fast and changes nothing.

    Returns:
        The migration of an earlier version's tables, or None if there were no tables or they were up to date.

    Raises:
        ConfigError: the database was created by a newer version of this package.
        PermanentError: a row would refer to a missing row after the migration.
    """
    head = head_revision()
    with engine.connect() as connection:
        if current_revision(connection) == head:
            return None
    with _altering(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
        current = current_revision(connection)
        if current is not None and head is not None and current > head:
            raise ConfigError(
                f"the catalog {engine.url.render_as_string(hide_password=True)} is at revision {current}, but this "
                f"version supports only revisions up to {head}; upgrade data-miner-dagster, or use another catalog"
            )
        if current == head:
            return None
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        # Under the lock, so that only one process writes the copy, and nothing is written between the copy and the
        # migration.
        copy = copy_before_migration(Path(file), current) if file and current is not None else None
        from alembic import command

        command.upgrade(alembic_config(connection), "head")
    return Migration(current, head, copy) if current is not None else None


@contextmanager
def _altering(engine: Engine) -> Iterator[Connection]:
    """Yield a connection inside a transaction in which SQLite may rebuild tables.

    SQLite alters a table by dropping it. With foreign keys enforced, dropping a table also deletes the rows of other
    tables that refer to it. Enforcement is therefore off during the transaction, and all foreign keys are checked
    before the commit.

    Source: SQLite's documentation, "Making Other Kinds Of Table Schema Changes".

    Raises:
        PermanentError: a row would refer to a missing row after the migration.
    """
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            with connection.begin():
                yield connection
            return
        _set_foreign_keys(connection, "OFF")  # has no effect inside a transaction
        try:
            with connection.begin():
                yield connection
                dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if dangling:
                    raise PermanentError(
                        f"a migration of the catalog would leave rows in {dangling[0][0]} that refer to missing rows "
                        f"in {dangling[0][2]}, so nothing was changed; please report this message as a bug"
                    )
        finally:
            _set_foreign_keys(connection, "ON")


def _set_foreign_keys(connection: Connection, state: str) -> None:
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA foreign_keys={state}")


def alembic_config(connection: Connection) -> "Config":
    """Return Alembic's configuration for these revisions, with an open connection whose transaction the caller owns."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
