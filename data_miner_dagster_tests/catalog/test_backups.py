import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from data_miner_dagster.catalog import migrations
from data_miner_dagster.catalog.backups import copy_before_migration, earlier_catalogs
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.migrations import alembic_config, head_revision, migrate


def write(path: Path, *names: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS videos (key TEXT)")
        connection.executemany("INSERT INTO videos VALUES (?)", [(name,) for name in names])


def names_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT key FROM videos ORDER BY key")]


def make_earlier_catalog(path: Path) -> Database:
    """Return a catalog of revision 0002 with one video."""
    from alembic import command

    database = Database(sqlite_url(path))
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0002")
        connection.execute(
            text(
                "INSERT INTO videos (key, url, status, attempts, created_at, updated_at) "
                "VALUES ('file-0a', '/clips/a.mp4', 'EXTRACTED', 1, '2026-01-01', '2026-01-01')"
            )
        )
    return database


def test_copy_before_migration__holds_what_is_committed_and_replaces_an_earlier_copy(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.sqlite"
    write(catalog, "a")
    catalog.chmod(0o600)
    with closing(sqlite3.connect(catalog, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO videos VALUES ('b')")  # not committed
        copy = copy_before_migration(catalog, "0002")
        assert (copy, names_in(copy)) == (tmp_path / "catalog-0002.sqlite", ["a"])
        writer.execute("COMMIT")  # only in the write-ahead log
        assert names_in(copy_before_migration(catalog, "0002")) == ["a", "b"]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if "partial" in path.name) == []


def test_copy_before_migration__removes_what_killed_ones_left(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.sqlite"
    write(catalog, "a")
    left = [tmp_path / name for name in (".partial-7-catalog-0002.sqlite", ".partial-7-catalog-0002.sqlite-journal")]
    folder, other = tmp_path / ".partial-k2_x9abc", tmp_path / ".partial-7-other-0002.sqlite"
    folder.mkdir()
    for path in (*left, other):
        path.touch()
    for path in (*left, folder, other):
        os.utime(path, (0, 0))
    copy = copy_before_migration(catalog, "0003")
    assert sorted(path for path in tmp_path.iterdir() if path not in (catalog, copy)) == [other]


def test_earlier_catalogs__are_those_of_one_catalog(tmp_path: Path) -> None:
    for name in ("a[1].sqlite", "a[1]-0004.sqlite", "a[1]-0002.sqlite", "a1-0002.sqlite", "a[1]-mine.sqlite"):
        (tmp_path / name).touch()
    found = earlier_catalogs(tmp_path / "a[1].sqlite")
    assert [path.name for path in found] == ["a[1]-0002.sqlite", "a[1]-0004.sqlite"]


def test_migrate__copies_an_earlier_catalog_and_no_other(tmp_path: Path) -> None:
    new = Database(sqlite_url(tmp_path / "new.sqlite"))
    assert migrate(new.engine) is None
    assert migrate(new.engine) is None
    assert earlier_catalogs(tmp_path / "new.sqlite") == []
    new.dispose()

    database = make_earlier_catalog(tmp_path / "catalog.sqlite")
    migration = migrate(database.engine)
    copy = tmp_path / "catalog-0002.sqlite"
    assert str(migration) == (
        f"the catalog was migrated from revision 0002 to {head_revision()}; "
        f"a copy of the earlier catalog is stored in {copy}"
    )
    assert names_in(copy) == ["file-0a"]
    database.dispose()


def test_migrate__a_failure_changes_nothing_and_the_copy_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command

    database = make_earlier_catalog(tmp_path / "catalog.sqlite")

    def upgrade_in_part(config: object, _revision: str) -> None:
        connection = config.attributes["connection"]  # type: ignore[attr-defined]
        connection.execute(text("DROP TABLE videos"))
        raise RuntimeError("half-way")

    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", upgrade_in_part)
        with pytest.raises(RuntimeError, match="half-way"):
            migrate(database.engine)
    with database.engine.connect() as connection:
        assert migrations.current_revision(connection) == "0002"
    assert names_in(tmp_path / "catalog.sqlite") == names_in(tmp_path / "catalog-0002.sqlite") == ["file-0a"]
    assert migrate(database.engine) is not None
    database.dispose()


@pytest.mark.postgres
def test_migrate__postgresql_is_left_to_its_own_backups(postgres_url: str) -> None:
    from alembic import command

    database = Database(postgres_url)
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0002")
    migration = migrate(database.engine)
    assert (
        str(migration)
        == f"the catalog was migrated from revision 0002 to {head_revision()}; no copy of the earlier catalog exists"
    )
    database.dispose()
