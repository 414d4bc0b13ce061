"""The catalog's tables as a chain of numbered Alembic revisions, applied by `initialise`.

A change of catalog/schema.py needs a revision: `python -m data_miner_dagster.catalog.migrations "what it adds"` writes
the next one from the difference between the chain and the tables. Read it before you commit it.
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
_LOCK_NUMBER: Final = 0x646D_6361  # "dmca": the advisory lock of this catalog's migrations


@dataclass(frozen=True, slots=True)
class Migration:
    """What was done to a catalog that an earlier version of this package made."""

    from_revision: str
    to_revision: str | None
    copy: Path | None
    """The catalog as it was before. None on PostgreSQL, whose owner makes copies by pg_dump."""

    def __str__(self) -> str:
        """Return one line for people."""
        kept = f"as it was before it is kept in {self.copy}" if self.copy is not None else "no copy was made of it"
        return f"the catalog was brought from revision {self.from_revision} to {self.to_revision}; {kept}"


def head_revision() -> str | None:
    """Return the newest revision, None before the first: they are numbered, so no need to import Alembic for it."""
    numbers = [path.stem[:4] for path in (FOLDER / "versions").iterdir() if re.match(r"\d{4}_\w+\.py$", path.name)]
    return max(numbers, default=None)


def current_revision(connection: Connection) -> str | None:
    """Return the revision a database stands at, None if it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def has_tables(database: Database) -> bool:
    """Return False if there are no tables of ours yet.

    Raises:
        TransientError: the database cannot be opened.
        CatalogError: it is damaged.
    """
    database.check_connection()
    with one_line_failures(database.engine), database.engine.connect() as connection:
        return current_revision(connection) is not None


def initialise(database: Database) -> Migration | None:
    """Create or migrate the tables. Idempotent; safe when several processes do it at once.

    Returns what was done to tables of an earlier version, if anything.

    Raises:
        TransientError: the database cannot be opened.
        CatalogError: it is damaged.
        ConfigError: it was made by a newer version of this package.
    """
    database.check_connection()
    with one_line_failures(database.engine):
        return migrate(database.engine)


def migrate(engine: Engine) -> Migration | None:
    """Bring a database to the newest revision, in one transaction. Idempotent, quick where nothing is to be done.

    Returns what was done to tables of an earlier version; None if there were none, or they are up to date. An SQLite
    file of an earlier version is copied first.

    Safe when several processes do it at once: SQLite's write lock, or an advisory lock of PostgreSQL, lets the first
    one work and the others find it done.

    Raises:
        ConfigError: the database was made by a newer version of this package.
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
                f"the catalog {engine.url.render_as_string(hide_password=True)} is at revision {current}, newer than "
                f"this version's {head}: upgrade data-miner-dagster, or use another --root"
            )
        if current == head:
            return None
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        # Under the lock, so that one process makes the copy, and nothing is written between it and the migration.
        copy = copy_before_migration(Path(file), current) if file and current is not None else None
        from alembic import command

        command.upgrade(alembic_config(connection), "head")
    return Migration(current, head, copy) if current is not None else None


@contextmanager
def _altering(engine: Engine) -> Iterator[Connection]:
    """Yield a connection inside a transaction in which SQLite may make a table anew.

    SQLite alters a table by dropping it, and with foreign keys in force that deletes the rows of others that refer to
    it. So they are off meanwhile, and all looked at before the commit.

    Source: SQLite's documentation, "Making Other Kinds Of Table Schema Changes".
    """
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            with connection.begin():
                yield connection
            return
        _set_foreign_keys(connection, "OFF")  # of no effect inside a transaction
        try:
            with connection.begin():
                yield connection
                dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if dangling:
                    raise PermanentError(
                        f"a migration of the catalog would leave rows of {dangling[0][0]} that refer to nothing in "
                        f"{dangling[0][2]}; nothing was changed: report this line"
                    )
        finally:
            _set_foreign_keys(connection, "ON")


def _set_foreign_keys(connection: Connection, state: str) -> None:
    with closing(connection.connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA foreign_keys={state}")


def alembic_config(connection: Connection) -> "Config":
    """Return Alembic's settings for this chain on an open connection, whose transaction is the caller's."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
