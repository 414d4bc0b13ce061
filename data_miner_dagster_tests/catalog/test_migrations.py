import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from data_miner_dagster.catalog.catalog import Catalog
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.migrations import alembic_config, current_revision, head_revision, migrate
from data_miner_dagster.catalog.schema import Base
from data_miner_dagster.domain.errors import ConfigError


def test_migrate__empty_database_gets_exactly_the_tables_of_the_schema(catalog_url: str) -> None:
    database = Database(catalog_url)
    migrate(database.engine)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        assert compare_metadata(context, Base.metadata) == []
        tables = set(inspect(connection).get_table_names())
    assert tables == {*Base.metadata.tables, "alembic_version"}
    database.dispose()


def test_migrate__again_changes_nothing(catalog: Catalog) -> None:
    catalog.save_project("bikes", {}, "hash", None)
    migrate(catalog.database.engine)
    assert [row.name for row in catalog.projects()] == ["bikes"]


def test_migrate__every_revision_can_be_taken_back(catalog: Catalog) -> None:
    from alembic import command

    with catalog.database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
        command.upgrade(alembic_config(connection), "head")
    assert catalog.projects() == []


def test_head_revision__is_alembics(catalog: Catalog) -> None:
    with catalog.database.engine.connect() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_heads() == [head_revision()]
        assert current_revision(connection) == head_revision()


def test_migrate__catalog_of_a_newer_version_is_refused(catalog: Catalog) -> None:
    with catalog.database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"is at revision 9999, newer than this version's \d{4}: upgrade"):
        migrate(catalog.database.engine)


def test_migrate__several_processes_at_once(catalog_url: str) -> None:
    command = [sys.executable, "-m", "data_miner_dagster_tests.catalog.competing_worker", "initialise", catalog_url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=60)[0] for worker in workers] == ["done\n"] * 4
    assert [worker.returncode for worker in workers] == [0] * 4
