import subprocess
import sys

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.migrations import (
    alembic_config,
    current_revision,
    has_tables,
    head_revision,
    initialize,
    migrate,
)
from data_miner_dagster.catalog.projects import find_projects, save_snapshot
from data_miner_dagster.catalog.schema import Base
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster_tests.support import migrated
from data_miner_dagster_tests.support.catalog import add_video


@pytest.fixture(autouse=True)
def _every_migration_is_run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Alembic run the migrations that a test asks for, but not those that create the test's catalog."""
    if "database" in request.fixturenames:
        request.getfixturevalue("database")
    monkeypatch.setattr(command, "upgrade", migrated.ALEMBICS_UPGRADE)


def assert_has_the_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
        )
        assert compare_metadata(context, Base.metadata) == []
        tables = set(inspect(connection).get_table_names())
        assert current_revision(connection) == head_revision()
    assert tables == {*Base.metadata.tables, "alembic_version"}


def test_migrate__empty_database_gets_exactly_the_tables_of_the_schema(catalog_url: str) -> None:
    database = Database(catalog_url)
    migrate(database.engine)
    assert_has_the_schema(database)
    database.dispose()


def test_migrate__by_the_statements_of_an_earlier_one(catalog_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other tests get their catalogs in this way."""
    monkeypatch.setattr(migrated, "_statements_by_dialect", {})
    monkeypatch.setattr(command, "upgrade", migrated.upgrade)
    database = Database(catalog_url)
    migrate(database.engine)
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        connection.execute(text("DROP TABLE alembic_version"))
    monkeypatch.setattr(migrated, "ALEMBICS_UPGRADE", None)  # Alembic is not called again
    assert migrate(database.engine) is None
    assert_has_the_schema(database)
    database.dispose()


def test_migrate__again_changes_nothing(database: Database) -> None:
    save_snapshot(database, "bikes", {}, "hash", None)
    migrate(database.engine)
    assert [row.name for row in find_projects(database)] == ["bikes"]


def test_migrate__every_revision_can_be_taken_back(database: Database) -> None:
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
        command.upgrade(alembic_config(connection), "head")
    assert find_projects(database) == []


def test_head_revision__is_alembics(database: Database) -> None:
    with database.engine.connect() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_heads() == [head_revision()]
        assert current_revision(connection) == head_revision()


def test_migrate__catalog_of_a_newer_version_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match=r"at revision 9999, but .* only revisions up to \d{4}; upgrade data-miner"):
        migrate(database.engine)


def test_migrate__several_processes_at_once(catalog_url: str) -> None:
    command = [sys.executable, "-m", "data_miner_dagster_tests.catalog.competing_worker", "initialize", catalog_url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [worker.communicate(timeout=300)[0] for worker in workers] == ["done\n"] * 4
    assert [worker.returncode for worker in workers] == [0] * 4


def test_migrate__who_wrote_an_address_is_told_by_what_was_asked_for(database: Database) -> None:
    found = {
        "file-0a": ("/clips/a.mp4", "files", "/clips"),
        "frames-0b": ("/clips/b", "frames", "/clips/*"),
        "file-0c": ("/clips/c.mp4", "by_hand", "c.mp4"),
        "generic-d": ("http://a.test/d.mp4", "urls", "http://a.test/d.mp4"),
        "generic-e": ("http://a.test/{env:T}/e.mp4", "url_files", "http://a.test/{env:T}/e.mp4"),
        "generic-f": ("http://a.test/f.mp4", "feeds", "http://a.test/feed"),
        "generic-g": ("/etc/passwd", "feeds", "http://a.test/feed"),
        "generic-h": ("/etc/hosts", "by_hand", "http://a.test/page"),
    }
    insert_video = text(
        "INSERT INTO videos (key, url, status, attempts, created_at, updated_at) "
        "VALUES (:key, :url, 'PENDING', 0, '2026-01-01', '2026-01-01')"
    )
    insert_member = text(
        "INSERT INTO project_videos (project_name, video_key, source, query, rank, found_at, status) "
        "VALUES ('bikes', :key, :source, :query, 0, '2026-01-01', 'PENDING')"
    )
    save_snapshot(database, "bikes", {}, "hash", None)
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0003")
        for key, (url, source, query) in found.items():
            connection.execute(insert_video, {"key": key, "url": url})
            connection.execute(insert_member, {"key": key, "source": source, "query": query})
        command.upgrade(alembic_config(connection), "head")
        origins = {row.key: row.origin for row in connection.execute(text("SELECT key, origin FROM videos"))}
    assert origins == {
        "file-0a": "local",
        "frames-0b": "local",
        "file-0c": "local",
        "generic-d": "own",
        "generic-e": "own",
        "generic-f": "foreign",
        "generic-g": "foreign",
        "generic-h": "foreign",
    }


def test_migrate__an_earlier_catalog_keeps_every_row(catalog_url: str) -> None:
    database = Database(catalog_url)
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0002")
        for statement in (
            "INSERT INTO projects (name, config, config_hash, stage, counts, created_at, updated_at) "
            "VALUES ('bikes', '{}', 'hash', 'COMPLETE', '{}', '2026-01-01', '2026-01-01')",
            "INSERT INTO videos (key, url, status, attempts, created_at, updated_at) "
            "VALUES ('file-0a', '/clips/a.mp4', 'EXTRACTED', 1, '2026-01-01', '2026-01-01')",
            "INSERT INTO project_videos (project_name, video_key, source, query, rank, found_at, status) "
            "VALUES ('bikes', 'file-0a', 'files', '/clips', 0, '2026-01-01', 'FILTERED')",
            "INSERT INTO source_listings (project_name, source, query, listed_at, num_found) "
            "VALUES ('bikes', 'files', '/clips', '2026-01-01', 1)",
            "INSERT INTO prescreenings (project_name, video_key, fingerprint, similarity, prompt, num_pictures, "
            "scored_at) "
            "VALUES ('bikes', 'file-0a', 'f', 0.5, 'a bicycle', 1, '2026-01-01')",
            "INSERT INTO releases (project_name, version, fingerprint, num_videos, num_images, num_boxes, created_at) "
            "VALUES ('bikes', 'v001', 'f', 1, 2, 3, '2026-01-01')",
        ):
            connection.execute(text(statement))
    migrate(database.engine)
    tables = ("projects", "videos", "project_videos", "source_listings", "prescreenings", "releases")
    with database.engine.connect() as connection:
        kept = {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables}
        if not database.is_postgresql:
            assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1  # enforced again
    assert kept == dict.fromkeys(tables, 1)
    database.dispose()


def test_migrate__stages_get_the_words_of_the_other_rooms_and_back(database: Database) -> None:
    words = {
        "POPULATING": "SOURCING",
        "FILTERING": "FILTERING",
        "DEDUP_READY": "DEDUPLICATION_READY",
        "DEDUPING": "DEDUPLICATION",
        "DETECT_READY": "DETECTION_READY",
        "DETECTING": "DETECTION",
        "COMPLETE": "COMPLETE",
        "FAILED": "FAILED",
    }
    insert = text(
        "INSERT INTO projects (name, config, config_hash, stage, counts, created_at, updated_at) "
        "VALUES (:stage, '{}', 'hash', :stage, '{}', '2026-01-01', '2026-01-01')"
    )
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0006")
        for word in words:
            connection.execute(insert, {"stage": word})
        command.upgrade(alembic_config(connection), "head")
    assert {row.name: row.stage.value for row in find_projects(database)} == words
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE projects SET stage = 'RELEASING_READY' WHERE name = 'COMPLETE'"))
        connection.execute(text("UPDATE projects SET stage = 'RELEASING' WHERE name = 'FAILED'"))
        command.downgrade(alembic_config(connection), "0006")
        stages = {row.name: row.stage for row in connection.execute(text("SELECT name, stage FROM projects"))}
        command.upgrade(alembic_config(connection), "head")
    assert stages == {word: word for word in words} | {"COMPLETE": "DETECTING", "FAILED": "DETECTING"}


def test_migrate__files_that_are_there_take_room(database: Database) -> None:
    add_video(database, "site-a", status=VideoStatus.EXTRACTED, sha256="1" * 64, file_name="video.mp4", size_bytes=7)
    add_video(database, "frames-b", status=VideoStatus.EXTRACTED, sha256="2" * 64, file_name="", size_bytes=8)
    add_video(database, "site-c")
    with database.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0009")
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "head")
    with database.reading() as session:
        rows = session.execute(text("SELECT key, stored_bytes FROM videos ORDER BY key")).all()
    assert sorted(tuple(row) for row in rows) == [("frames-b", None), ("site-a", 7), ("site-c", None)]


def test_has_tables__from_the_first_revision_on(catalog_url: str) -> None:
    database = Database(catalog_url)
    assert not has_tables(database)
    assert initialize(database) is None  # there was no earlier revision to migrate
    assert has_tables(database)
    database.dispose()
