"""Engines and transactions for SQLite (the default) and PostgreSQL (by URL)."""

import logging
import sqlite3
import time
import weakref
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Dialect, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session as _Session
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import QueuePool

from data_miner_dagster.catalog.failures import one_line_failures
from data_miner_dagster.catalog.kept_log import KeptLog
from data_miner_dagster.catalog.work_tables import Base
from data_miner_dagster.domain.catalog_urls import problem_of_catalog_url, shown_catalog_url
from data_miner_dagster.domain.errors import ConfigError, TransientError

logger = logging.getLogger(__name__)

Session = _Session
"""An open transaction, which functions of the catalog take as an argument."""

_KEYS_A_STATEMENT: Final = 5000  # SQLite accepts about 32,000 parameters

BUSY_SECONDS: Final = 60.0
"""Maximum time that an SQLite transaction waits for a lock that another transaction holds."""


def portions(keys: Collection[str]) -> Iterator[list[str]]:
    """Yield the distinct keys in sorted order, in lists small enough for one statement."""
    distinct = sorted(set(keys))
    for start in range(0, len(distinct), _KEYS_A_STATEMENT):
        yield distinct[start : start + _KEYS_A_STATEMENT]


def sqlite_url(path: Path) -> URL:
    """Return the URL of an SQLite file. Unlike a URL string, it allows `?` and `%20` in the path."""
    return URL.create("sqlite", database=str(path))


def make_engine(url: str | URL, *, is_read_only: bool = False, kept_log: KeptLog | None = None) -> Engine:
    """Return an engine. On SQLite, it waits for locks, enforces foreign keys and uses write-ahead logging.

    An SQLite transaction that may write takes its lock at the start (BEGIN IMMEDIATE). A read followed by a write
    therefore never fails because another process wrote in between. A transaction of an engine with `is_read_only` takes
    no lock. It sees the state at its start, and neither waits for a writer nor delays one. Connections to an SQLite
    file go through `kept_log`, unless it is None.

    Raises:
        ConfigError: the URL does not name an SQLite or PostgreSQL database.
    """
    if isinstance(url, str) and (problem := problem_of_catalog_url(url)):
        raise ConfigError(f"the catalog URL {shown_catalog_url(url)} is not valid: {problem}")
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        # A connection that the server or a firewall has dropped is noticed before use, and a hung host after 30 s.
        # Errors show the statement but not its values, which include addresses and configurations.
        # The isolation level is explicit because the catalog relies on it (writers.py). A server's default may differ.
        return create_engine(
            parsed,
            hide_parameters=True,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={"connect_timeout": 30},
        )
    engine = create_engine(
        parsed, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    if kept_log is not None:

        @event.listens_for(engine, "do_connect")
        def _connect(dialect: Dialect, _record: object, arguments: Any, options: Any) -> Any:
            def connect() -> Any:
                connection = dialect.connect(*arguments, **options)
                _write_ahead(connection)
                return connection

            return kept_log.connect(connect)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # `begin` below starts transactions, not the driver
        _write_ahead(connection)
        cursor = connection.cursor()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA query_only={'ON' if is_read_only else 'OFF'}")
        cursor.close()

    def begin(connection: Any) -> None:
        connection.execute("BEGIN" if is_read_only else "BEGIN IMMEDIATE")

    # Patched on the dialect, not via an event: any event listener makes every statement about 50 % slower.
    engine.dialect.do_begin = begin  # type: ignore[method-assign, assignment]
    return engine


def _write_ahead(connection: Any) -> None:
    """Switch to write-ahead logging, retrying because SQLite does not wait if another process is doing the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def compact_sqlite(path: Path, *, wait_seconds: float = 10.0) -> bool:
    """Rewrite an SQLite file and empty its log, so that no deleted data remains.

    Returns:
        True if the file was rewritten and its log emptied. False if not, usually because another process used it for
        longer than `wait_seconds`.

    Raises:
        sqlite3.DatabaseError: the file is damaged, or is not a database.
    """
    KeptLog(path).put_back()
    with closing(sqlite3.connect(path, timeout=wait_seconds, isolation_level=None)) as connection:
        try:
            connection.execute("VACUUM")
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False
    return not is_busy


def free_bytes(path: Path) -> int:
    """Return the number of bytes that deleted rows have left free in an SQLite file."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (num_pages,), (page_bytes,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size")
        )
    return int(num_pages) * int(page_bytes)


def reclaim_space(engine: Engine, tables: Collection[str], *, wait_seconds: float = 10.0) -> bool:
    """Rewrite tables so that they contain no deleted data. Return False if any of them cannot be rewritten.

    An SQLite file is rewritten as a whole. On PostgreSQL, each table is rewritten by VACUUM FULL, which waits up to
    `wait_seconds` for its lock. A table that is in use, or owned by another user, gets a plain vacuum instead, and its
    pages are overwritten over time. Deleted data may remain in the server's write-ahead log and backups.
    """
    file = engine.url.database
    if engine.dialect.name == "sqlite":
        return not file or compact_sqlite(Path(file), wait_seconds=wait_seconds)
    in_use = []
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"SET lock_timeout = {int(wait_seconds * 1000)}")
        for name in sorted(set(tables) & set(inspect(connection).get_table_names())):
            table = connection.dialect.identifier_preparer.quote(name)
            try:
                connection.exec_driver_sql(f"VACUUM (FULL) {table}")
            except DBAPIError:  # locked, or owned by another user
                in_use.append(name)
                connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {table}")
        connection.exec_driver_sql("RESET lock_timeout")
    if in_use:
        noun = "table" if len(in_use) == 1 else "tables"
        logger.warning(
            "the text of deleted rows may still exist in the %s %s of %s; stop all programs that use the database, "
            "then run `VACUUM FULL` as the owner of the %s",
            noun,
            ", ".join(in_use),
            engine.url.render_as_string(hide_password=True),
            noun,
        )
    return not in_use


def now_of(session: Session) -> datetime:
    """Return the current time in UTC, by the server's clock on PostgreSQL, and by this host's clock on SQLite."""
    if session.get_bind().dialect.name != "postgresql":
        return datetime.now(UTC)
    present: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return present.astimezone(UTC)


class Database:
    """A catalog and its transactions. It connects on first use and is thread-safe.

    Raises:
        ConfigError: the URL does not name an SQLite or PostgreSQL database.
    """

    def __init__(self, url: str | URL) -> None:
        kept_log = _kept_log_of(url)
        self.engine = make_engine(url, kept_log=kept_log)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._reading_engine = (
            # Shares the pool. All statements of a transaction see the same state of the catalog, as on SQLite.
            self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if self.is_postgresql
            else make_engine(url, is_read_only=True, kept_log=kept_log)
        )
        self._reading_sessions = sessionmaker(self._reading_engine, expire_on_commit=False)
        # Runs at process exit at the latest, so that a root copied without its -wal file is not empty.
        self._dispose = partial(_dispose, self.engine, self._reading_engine, kept_log)
        weakref.finalize(self, self._dispose)

    @property
    def is_postgresql(self) -> bool:
        """True on PostgreSQL, False on SQLite."""
        return self.engine.dialect.name == "postgresql"

    @property
    def file(self) -> Path | None:
        """The file of an SQLite catalog, or None on PostgreSQL."""
        name = self.engine.url.database
        return Path(name) if name and not self.is_postgresql else None

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Yield a session that commits if the block succeeds and rolls back if it raises.

        Raises:
            CatalogError: the database file is damaged.
            TransientError: the disk is full, or an SQLite file cannot be opened, read or written.
            SQLAlchemyError: a PostgreSQL server cannot be reached, or a statement fails.
        """
        with one_line_failures(self.engine), self._sessions.begin() as session:
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Yield a read-only session, in which all queries see the same state of the catalog. It takes no lock.

        Raises:
            CatalogError: the database file is damaged.
            TransientError: the disk is full, or an SQLite file cannot be opened or read.
            SQLAlchemyError: a PostgreSQL server cannot be reached, or a statement fails.
        """
        with one_line_failures(self.engine, is_read_only=True), self._reading_sessions.begin() as session:
            yield session

    def now(self, session: Session) -> datetime:
        """Return the current time in UTC, by the server's clock on PostgreSQL, and by this host's clock on SQLite."""
        return now_of(session)

    def check_connection(self) -> None:
        """Check that the database can be reached.

        Raises:
            TransientError: the database cannot be opened. The message does not contain the password.
            CatalogError: the database is damaged.
        """
        try:
            with one_line_failures(self.engine), self.engine.connect():
                pass
        except OperationalError as error:
            reason = str(error.orig).splitlines()[0]
            url = self.engine.url.render_as_string(hide_password=True)
            raise TransientError(
                f"the catalog {url} cannot be opened ({reason}); check that the server is running, and that the "
                "host, port, database, user and password in the URL are correct"
            ) from None

    def reclaim_space(self) -> bool:
        """Rewrite the catalog so that it contains no deleted data. Return False if any of it cannot be rewritten."""
        return reclaim_space(self.engine, sorted(Base.metadata.tables))

    def dispose(self) -> None:
        """Close all connections. If no other process uses an SQLite file, its write-ahead log is copied into it."""
        self._dispose()


def _kept_log_of(url: str | URL) -> KeptLog | None:
    if isinstance(url, str) and problem_of_catalog_url(url):
        return None  # `make_engine` raises the error
    parsed = make_url(url)
    return KeptLog(Path(parsed.database)) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _dispose(engine: Engine, reading_engine: Engine, kept_log: KeptLog | None) -> None:
    close = partial(_close, engine, reading_engine)
    if kept_log is None:
        close()
    else:
        kept_log.leave(close)


def _close(engine: Engine, reading_engine: Engine) -> None:
    # Close read-only connections first: SQLite checkpoints automatically when the last connection closes, unless that
    # connection is read-only.
    reading_engine.dispose()
    if engine.dialect.name == "sqlite" and isinstance(engine.pool, QueuePool) and engine.pool.checkedin():
        try:
            connection = engine.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute("PRAGMA busy_timeout=200")  # the last process to close does the checkpoint
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                cursor.close()
            finally:
                connection.close()
        except (DBAPIError, sqlite3.Error):  # damaged, full or missing: nothing can be saved
            pass
    engine.dispose()
