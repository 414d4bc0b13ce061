"""The errors of a damaged catalog, and the completeness of the file of a closed one."""

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.failures import quick_check
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.projects import find_projects, save_snapshot
from data_miner_dagster.domain.errors import CatalogError, TransientError
from data_miner_dagster_tests.operations.full_disks import small_disk

PROJECTS = 400


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a closed catalog with many projects."""
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    initialize(database)
    for number in range(PROJECTS):
        save_snapshot(database, f"p{number}", {"description": "x" * 300}, "hash", None)
    database.dispose()
    return tmp_path / "catalog.sqlite"


def test_dispose__the_file_alone_is_the_whole_catalog(file: Path, tmp_path: Path) -> None:
    assert not file.with_name("catalog.sqlite-wal").exists()
    shutil.copyfile(file, tmp_path / "copy.sqlite")
    copy = Database(f"sqlite:///{tmp_path / 'copy.sqlite'}")
    assert len(find_projects(copy)) == PROJECTS
    copy.dispose()


def test_dispose__what_another_still_has_open_is_checkpointed_all_the_same(file: Path, tmp_path: Path) -> None:
    reader = sqlite3.connect(file)
    reader.execute("SELECT count(*) FROM projects").fetchone()
    database = Database(f"sqlite:///{file}")
    save_snapshot(database, "last", {}, "hash", None)
    database.dispose()
    shutil.copyfile(file, tmp_path / "copy.sqlite")
    reader.close()
    copy = Database(f"sqlite:///{tmp_path / 'copy.sqlite'}")
    assert len(find_projects(copy)) == PROJECTS + 1
    copy.dispose()


def test_process_exit__closes_the_catalog(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom data_miner_dagster.catalog.database import Database\n"
        "from data_miner_dagster.catalog.migrations import initialize\n"
        "from data_miner_dagster.catalog.projects import find_projects, save_snapshot\n"
        "database = Database(sys.argv[1])\ninitialize(database)\nsave_snapshot(database, 'p', {}, 'hash', None)\n"
        "assert [row.name for row in find_projects(database)] == ['p']\n"
    )
    file = tmp_path / "catalog.sqlite"
    subprocess.run([sys.executable, "-c", script, f"sqlite:///{file}"], check=True, timeout=300)
    assert [path.name for path in tmp_path.glob("catalog.sqlite*")] == ["catalog.sqlite"]
    alone = sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)
    assert alone.execute("SELECT name FROM projects").fetchall() == [("p",)]
    alone.close()


@pytest.mark.parametrize("damage", ["noise", "cut", "hole"])
def test_catalog__damage_is_one_line(file: Path, damage: str) -> None:
    content = bytearray(file.read_bytes())
    if damage == "noise":
        content = bytearray(random.Random(1).randbytes(len(content)))
    elif damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[4096:-4096] = bytes(len(content) - 8192)
    file.write_bytes(bytes(content))
    assert quick_check(file) is not None
    database = Database(f"sqlite:///{file}")

    def look() -> None:
        initialize(database)
        find_projects(database)

    with pytest.raises(CatalogError, match=r"catalog\.sqlite is damaged \(.*init-db") as raised:
        look()
    assert "\n" not in str(raised.value)
    database.dispose()


def test_quick_check__sound_or_not_there(file: Path, tmp_path: Path) -> None:
    assert quick_check(file) is None
    assert quick_check(tmp_path / "nowhere") is None


def test_quick_check__a_name_that_is_no_longer_text(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "names.sqlite")) as connection:
        connection.execute("CREATE TABLE t (abc TEXT)")
        connection.execute("INSERT INTO t VALUES (NULL)")
        connection.execute("PRAGMA writable_schema=ON")
        schema = b'CREATE TABLE t ("a\xf6c" TEXT NOT NULL)'.hex()
        connection.execute(f"UPDATE sqlite_schema SET sql = CAST(x'{schema}' AS TEXT)")
        connection.commit()
    assert quick_check(tmp_path / "names.sqlite") == "NULL value in t.a\ufffdc"


def test_quick_check__a_message_that_is_no_text(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "schema.sqlite")) as connection:
        connection.execute("CREATE TABLE t (abc TEXT)")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_schema SET name = CAST(x'61f662' AS TEXT), sql = 'CREATE TABEL t (abc)'")
        connection.commit()
    assert (
        quick_check(tmp_path / "schema.sqlite") == 'malformed database schema (a\ufffdb) - near "TABEL": syntax error'
    )


def test_transaction__a_full_disk_may_pass(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=1_000_000) as disk:
        database = Database(f"sqlite:///{disk / 'catalog.sqlite'}")
        with database.transaction() as session:
            session.execute(text("CREATE TABLE t (x TEXT)"))

        def write_much() -> None:
            for _ in range(100):
                with database.transaction() as session:
                    session.execute(text("INSERT INTO t VALUES (:x)"), {"x": "x" * 50_000})

        with pytest.raises(TransientError, match="no space is left on the disk of the catalog"):
            write_much()
        database.dispose()
