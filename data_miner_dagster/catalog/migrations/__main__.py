"""Write the next revision from the difference between the existing revisions and the tables."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from data_miner_dagster.catalog.database import make_engine, sqlite_url
from data_miner_dagster.catalog.migrations import alembic_config, head_revision, migrate


def write_revision(message: str) -> None:
    """Write `versions/<number>_<message>.py` by comparing the schema with an empty database at the newest revision."""
    head = head_revision()
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(sqlite_url(Path(folder) / "empty.sqlite"))
        if head is not None:
            migrate(engine)
        with engine.connect() as connection:
            config = alembic_config(connection)
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            command.revision(config, message, autogenerate=True, rev_id=f"{int(head or 0) + 1:04d}")
        engine.dispose()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit('usage: python -m data_miner_dagster.catalog.migrations "what the revision adds"')
    write_revision(sys.argv[1])
