"""What happens to a catalog whose -wal and -shm files are deleted while it is in use."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.failures import quick_check
from data_miner_dagster.catalog.kept_log import KeptLog

FOREIGN = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM things").fetchall()
print("opened", flush=True)
time.sleep(60)
"""
COUNTER = """
import sys
from pathlib import Path
from sqlalchemy import text
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.domain.errors import TransientError
database = Database(sqlite_url(Path(sys.argv[1])))
def add(number):
    try:
        with database.transaction() as session:
            session.execute(text("INSERT INTO things (writer, number) VALUES (:writer, :number)"),
                            {"writer": sys.argv[3], "number": number})
    except TransientError as error:  # deleted at the very moment of opening: to be tried again, as work is
        if "cannot be opened" not in str(error):
            raise
        add(number)
for number in range(int(sys.argv[2])):
    add(number)
    if number % 5 == 4:
        database.dispose()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    opened = Database(sqlite_url(file))
    with opened.transaction() as session:
        session.execute(text("CREATE TABLE things (writer TEXT, number INTEGER)"))
    yield opened
    opened.dispose()


def add(database: Database, number: int) -> None:
    with database.transaction() as session:
        session.execute(text("INSERT INTO things (writer, number) VALUES ('here', :number)"), {"number": number})


def numbers(database: Database) -> list[int]:
    with database.reading() as session:
        return list(session.scalars(text("SELECT number FROM things ORDER BY number")))


def delete_beside(file: Path) -> None:
    for path in file.parent.glob(f"{file.name}-*"):
        path.unlink(missing_ok=True)


def test_kept_log__who_comes_later_sees_what_is_in_a_deleted_log(database: Database, file: Path) -> None:
    add(database, 1)
    delete_beside(file)
    later = Database(sqlite_url(file))
    assert numbers(later) == [1]
    add(later, 2)
    add(database, 3)
    assert numbers(database) == numbers(later) == [1, 2, 3]
    later.dispose()
    assert numbers(database) == [1, 2, 3]
    database.dispose()
    assert sorted(path.name for path in file.parent.iterdir()) == ["catalog.sqlite", "catalog_in_use"]
    assert sorted(path.name for path in (file.parent / "catalog_in_use").iterdir()) == ["door", "users"]
    assert numbers(Database(sqlite_url(file))) == [1, 2, 3]


def test_kept_log__a_check_of_the_file_divides_nothing(database: Database, file: Path) -> None:
    add(database, 1)
    delete_beside(file)
    assert quick_check(file) is None
    later = Database(sqlite_url(file))
    assert numbers(later) == [1]
    later.dispose()


def test_kept_log__a_foreign_program_that_came_first_is_overruled(database: Database, file: Path) -> None:
    """A foreign program that opens the file between the deletion and our next connection creates a new log."""
    add(database, 1)
    delete_beside(file)
    with subprocess.Popen([sys.executable, "-c", FOREIGN, str(file)], stdout=subprocess.PIPE) as foreign:
        assert foreign.stdout is not None
        foreign.stdout.readline()
        later = Database(sqlite_url(file))
        assert numbers(later) == [1]
        add(later, 2)
        foreign.kill()
    assert numbers(database) == [1, 2]
    later.dispose()


def test_kept_log__deleted_after_a_crash(file: Path) -> None:
    """A killed process has left a log with commits that the file lacks."""
    crash = COUNTER + "import os; os.kill(os.getpid(), 9)"
    first = Database(sqlite_url(file))
    with first.transaction() as session:
        session.execute(text("CREATE TABLE things (writer TEXT, number INTEGER)"))
    first.dispose()
    subprocess.run([sys.executable, "-c", crash, str(file), "3", "killed"], check=False)
    assert (file.parent / "catalog.sqlite-wal").stat().st_size
    delete_beside(file)
    assert numbers(Database(sqlite_url(file))) == [0, 1, 2]


def test_kept_log__of_an_earlier_time_is_not_put_back(database: Database, file: Path) -> None:
    """A program that does not keep the log may have changed the catalog since."""
    add(database, 1)
    kept = file.parent / "catalog_in_use" / "kept-wal"
    stale = kept.read_bytes()
    assert stale
    database.dispose()
    kept.write_bytes(stale)
    foreign = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM things'); c.commit(); c.close()"
    )
    subprocess.run([sys.executable, "-c", foreign, str(file)], check=True)
    assert numbers(Database(sqlite_url(file))) == []
    assert quick_check(file) is None


@pytest.mark.timeout(120)
def test_kept_log__left_in_the_middle_of_connecting(database: Database, file: Path) -> None:
    """A database is disposed of while another connection is being opened, as the garbage collector may do."""
    add(database, 1)
    log, left = KeptLog(file), []

    def connect() -> sqlite3.Connection:
        database.dispose()
        left.append(True)
        return sqlite3.connect(file)

    log.connect(connect).close()
    log.leave(lambda: None)
    assert left
    assert numbers(Database(sqlite_url(file))) == [1]


@pytest.mark.slow
def test_kept_log__nothing_is_lost_while_somebody_keeps_deleting(database: Database, file: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", COUNTER, str(file), "120", name]) for name in ("one", "two", "three")
    ]
    rng = Random(0)
    while any(writer.poll() is None for writer in writers):
        time.sleep(rng.uniform(0, 0.03))
        delete_beside(file)
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with database.reading() as session:
        found = session.execute(text("SELECT writer, count(*), count(DISTINCT number) FROM things GROUP BY writer"))
        assert {tuple(row) for row in found} == {("one", 120, 120), ("three", 120, 120), ("two", 120, 120)}
    assert quick_check(file) is None
