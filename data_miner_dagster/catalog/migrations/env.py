"""The environment that Alembic runs for every command, on the given connection and inside its transaction."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Enum

from data_miner_dagster.catalog.schema import UtcDateTime
from data_miner_dagster.catalog.work_tables import Base


def _render(kind: str, thing: object, _context: AutogenContext) -> str | Literal[False]:
    """Return the source text of a column type for a revision, or False to use Alembic's own text.

    Our types are written as the types that the database stores, so revisions do not depend on our classes and enums.
    """
    if kind == "type" and isinstance(thing, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(thing, Enum):
        return f"sa.String(length={thing.length})"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_item=_render,
    render_as_batch=True,  # SQLite alters a table by rebuilding it
    transactional_ddl=True,  # also true for SQLite with our own BEGIN
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
