import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from data_miner_dagster.catalog.database import Database, make_engine, portions, reclaim_space, sqlite_url
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.domain.errors import ConfigError, TransientError
from data_miner_dagster_tests.support.catalog import add_project


def test_make_engine__not_a_catalog_url() -> None:
    for url in ("", "postgresql//user:hunter2@host/catalog", "mysql://user:hunter2@host/catalog"):
        with pytest.raises(ConfigError, match="must be in SQLite or PostgreSQL; write") as refused:
            make_engine(url)
        assert "hunter2" not in str(refused.value)


def test_transaction__rolls_back_on_an_exception(database: Database) -> None:
    add_project(database, "bikes")
    with pytest.raises(ZeroDivisionError), database.transaction() as session:  # noqa: PT012 - its change is undone
        session.execute(update(ProjectRow).values(error="half-done"))
        raise ZeroDivisionError
    row = find_project(database, "bikes")
    assert row is not None
    assert row.error is None


def test_reading__cannot_change_anything_and_leaves_the_connection_writable(database: Database) -> None:
    add_project(database, "bikes")
    with pytest.raises(DBAPIError), database.reading() as session:
        session.execute(update(ProjectRow).values(error="no"))
    update_project(database, "bikes", error="yes")
    row = find_project(database, "bikes")
    assert row is not None
    assert row.error == "yes"


def test_reading__does_not_wait_for_a_writer(database: Database) -> None:
    add_project(database, "bikes")
    with database.transaction() as session:
        session.execute(update(ProjectRow).values(error="not committed"))
        session.flush()
        row = find_project(database, "bikes")  # waiting here would never end, since this thread is the writer
    assert row is not None
    assert row.error is None


def test_reading__sees_one_state_of_the_catalog(database: Database) -> None:
    add_project(database, "bikes")
    with database.reading() as session:
        names = select(ProjectRow.name).order_by(ProjectRow.name)
        assert list(session.scalars(names)) == ["bikes"]
        add_project(database, "trams")
        assert list(session.scalars(names)) == ["bikes"]
    with database.reading() as session:
        assert list(session.scalars(names)) == ["bikes", "trams"]
    if database.is_postgresql:
        with database.transaction() as session:  # on the same connection, but writers must see others' commits
            assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
            assert session.scalar(text("SHOW transaction_read_only")) == "off"


def test_transaction__read_then_write_by_many_threads_loses_no_update(database: Database) -> None:
    add_project(database, "bikes")

    def count_up() -> None:
        for _ in range(20):
            with database.transaction() as session:
                row = session.get_one(ProjectRow, "bikes", with_for_update=True)
                row.counts = {"videos": row.counts.get("videos", 0) + 1}

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = find_project(database, "bikes")
    assert row is not None
    assert row.counts == {"videos": 80}


def test_make_engine__sqlite_keeps_foreign_keys_and_writes_ahead(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    with database.reading() as session:
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
    database.dispose()


def test_check_connection__folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        TransientError, match=r"nowhere/catalog\.sqlite cannot be opened \(unable to open database file\)"
    ):
        initialize(Database(f"sqlite:///{tmp_path / 'nowhere' / 'catalog.sqlite'}"))


def test_check_connection__password_is_not_repeated() -> None:
    with pytest.raises(TransientError) as raised:
        initialize(Database("postgresql+psycopg2://miner:hunter2@127.0.0.1:1/catalog"))
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_transaction__an_error_names_no_values(database: Database) -> None:
    with pytest.raises(DBAPIError) as failed, database.transaction() as session:
        session.execute(text("INSERT INTO nowhere (a) VALUES (:a)"), {"a": "5EC12E7"})
    assert "parameters hidden" in str(failed.value)
    shown_by_server = database.engine.dialect.name == "postgresql"  # PostgreSQL repeats the faulty line
    assert ("5EC12E7" in str(failed.value)) is shown_by_server


def test_reclaim_space__tables_in_use_are_named(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    add_project(database, "bikes")
    assert database.reclaim_space()
    row = find_project(database, "bikes")
    assert row is not None
    with database.transaction() as session:
        session.execute(update(ProjectRow).values(error="at work"))
        session.flush()
        assert not reclaim_space(database.engine, ["projects", "nowhere"], wait_seconds=0.1)
    if database.is_postgresql:
        assert "the text of deleted rows may still exist in the table projects of " in caplog.text
    row = find_project(database, "bikes")
    assert row is not None
    assert row.error == "at work"


def test_portions__distinct_keys_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(portions([])) == []
    monkeypatch.setattr("data_miner_dagster.catalog.database._KEYS_A_STATEMENT", 2)
    assert list(portions(["c", "a", "b", "a", "e", "d"])) == [["a", "b"], ["c", "d"], ["e"]]


def test_file__of_sqlite_alone(tmp_path: Path) -> None:
    assert Database(sqlite_url(tmp_path / "a ?%20.sqlite")).file == tmp_path / "a ?%20.sqlite"
    assert Database("sqlite://").file is None
    assert Database("postgresql+psycopg2://127.0.0.1:1/catalog").file is None
