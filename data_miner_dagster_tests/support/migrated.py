"""Create catalogs with the SQL that Alembic ran for the process's first catalog in the same kind of database.

Every Dagster instance asks Alembic several times for the revisions of its databases. They are read once per process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event

from data_miner_dagster.catalog.migrations import current_revision

Statement = tuple[str, Any]

ALEMBICS_UPGRADE: Final[Callable[[Config, str], None]] = command.upgrade
"""The original function. Tests of the migrations call it, so that every migration really runs."""

_DIRECTORY_OF: Final[Callable[[Config], ScriptDirectory]] = ScriptDirectory.from_config
_directories: Final[dict[tuple[str | None, ...], ScriptDirectory]] = {}
_statements_by_dialect: Final[dict[str, list[Statement]]] = {}


def upgrade(config: Config, revision: str) -> None:
    """Upgrade as Alembic's `upgrade` does, but create the tables of an empty database with recorded statements."""
    connection: Connection = config.attributes["connection"]
    if revision != "head" or current_revision(connection) is not None:
        ALEMBICS_UPGRADE(config, revision)
        return
    statements = _statements_by_dialect.get(connection.dialect.name)
    if statements is None:
        with _recorded(connection) as statements:
            ALEMBICS_UPGRADE(config, revision)
        _statements_by_dialect[connection.dialect.name] = statements
        return
    for statement, parameters in statements:
        connection.exec_driver_sql(statement, parameters or None).close()


def script_directory(config: Config) -> ScriptDirectory:
    """Do what Alembic's `ScriptDirectory.from_config` does, but load the migrations in each place only once."""
    options = ("script_location", "version_locations")
    key = (config.config_file_name, *(config.get_main_option(option) for option in options))
    if key not in _directories:
        _directories[key] = _DIRECTORY_OF(config)
    return _directories[key]


@contextmanager
def _recorded(connection: Connection) -> Iterator[list[Statement]]:
    """Yield a list that receives every statement that changes the database, as passed to the database driver."""
    statements: list[Statement] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, *_others: object) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "PRAGMA")):
            statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", record)
