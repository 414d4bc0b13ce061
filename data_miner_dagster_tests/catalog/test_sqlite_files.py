import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from data_miner_dagster.catalog.sqlite_files import commit_unhurried, kept_open, use_small_pages


def page_bytes(path: Path) -> int:
    """Create a database with a table and write-ahead logging, as Dagster does, and return its page size."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS words (word TEXT)"))
    with engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))
        return int(connection.execute(text("PRAGMA page_size")).scalar_one())


def test_use_small_pages__new_files_of_the_folder_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    (folder / "inner").mkdir(parents=True)
    assert page_bytes(folder / "old.db") == 4096
    use_small_pages(folder)
    use_small_pages(folder)
    assert page_bytes(folder / "new.db") == 1024
    assert page_bytes(folder / "old.db") == 4096
    assert page_bytes(folder / "inner" / "new.db") == page_bytes(tmp_path / "new.db") == 4096


def synchronous(path: Path) -> int:
    """Return the `synchronous` setting of a new connection: 1 for NORMAL, 2 for FULL."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(text("PRAGMA synchronous")).scalar_one())


def test_commit_unhurried__files_that_write_ahead_under_the_folder_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "history").mkdir(parents=True)
    ahead, journalled, outside = home / "history" / "a.db", home / "b.db", tmp_path / "c.db"
    page_bytes(ahead)
    page_bytes(outside)
    with closing(sqlite3.connect(journalled)) as connection:
        connection.execute("CREATE TABLE words (word TEXT)")
    assert synchronous(ahead) == 2
    commit_unhurried(home)
    assert (synchronous(ahead), synchronous(journalled), synchronous(outside)) == (1, 2, 2)
    assert synchronous(home / "new.db") == 1


def test_kept_open__the_log_stays_while_others_open_and_close_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    page_bytes(file)

    def write() -> bool:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("INSERT INTO words VALUES ('a')")
        return file.with_name("a.db-wal").exists()

    assert not write()
    with kept_open([file, tmp_path / "missing.db"]):
        assert write()
    assert not write()
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM words").fetchone() == (3,)
    assert not (tmp_path / "missing.db").exists()
