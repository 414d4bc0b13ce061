"""The cost of a tick's queries does not depend on the number of videos, according to PostgreSQL's own plans."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, make_url, text

from benchmarks.planted_catalog import plant_videos
from data_miner_dagster.catalog.batches import end_batch, open_batches, take_batch, take_project_batch
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.pending import (
    bases_on_record,
    is_project_settled,
    join_frames_bases,
    projects_of,
    record_bases,
)
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.upkeep import reset_orphans
from data_miner_dagster.catalog.videos import extracted_keys
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage
from data_miner_dagster_tests.support.catalog import add_project

NUM_VIDEOS = 100_000
BASES = {WorkStage.EXTRACTION: join_frames_bases("a" * 32, "b" * 32), WorkStage.EMBEDDING: "c" * 32}
SCAN = re.compile(r"Seq Scan on (videos|project_videos|pending_work)\b")


@contextmanager
def recorded(engine: Engine) -> Iterator[dict[str, Any]]:
    """Yield the statements that are executed in the block, each with the parameters of one execution."""
    statements: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _is_many: bool) -> None:
        statements[statement] = parameters[0] if isinstance(parameters, list) else parameters

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def scans_of(database: Database, statements: dict[str, Any]) -> list[str]:
    """Return the statements for which PostgreSQL would read a large table from end to end."""
    scanning = []
    with database.engine.connect() as connection:
        for statement, parameters in statements.items():
            if statement.split(None, 1)[0] in ("SELECT", "UPDATE", "DELETE", "INSERT", "WITH"):
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                lines = [line for (line,) in plan]
                if any(SCAN.search(line) for line in lines):
                    scanning.append("\n".join([statement, *lines]))
    return scanning


def plant(postgres_url: str) -> None:
    """Plant videos in 50 projects without foreign key checks, which would take longer than everything else."""
    unchecked = Database(make_url(postgres_url).update_query_dict({"options": "-csession_replication_role=replica"}))
    initialize(unchecked)
    projects = [f"p{index:02}" for index in range(50)]
    for name in projects:
        add_project(unchecked, name)
    plant_videos(unchecked, NUM_VIDEOS, projects, BASES)
    unchecked.dispose()


@pytest.mark.postgres
def test_ticks__no_query_reads_a_large_table_from_end_to_end(postgres_url: str) -> None:
    plant(postgres_url)
    database = Database(postgres_url)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    with recorded(database.engine) as statements:
        for stage in VIDEO_STAGES:
            batch = take_batch(database, stage)
            assert batch is not None
            assert len(batch.items) == 25
            take_batch(database, stage, project="p07", keys=batch.items)
            assert [opened.stage for opened in open_batches(database)].count(stage) == 1
            with database.transaction() as session:
                assert len(projects_of(session, batch.items)) > 1
                assert not is_project_settled(session, "p07", utc_now())
                if stage is WorkStage.DOWNLOADING:
                    move_video(session, batch.items[0], VideoStatus.DOWNLOADING)
                if stage is WorkStage.EMBEDDING:
                    record_bases(session, stage, {batch.items[0]: BASES[stage]})
            end_batch(database, batch.id, "killed", died=True)
            assert take_batch(database, stage) is not None  # a batch of suspects
        assert take_project_batch(database, WorkStage.FILTERING, "p07") is not None
        assert len(open_batches(database)) == 4
        assert bases_on_record(database) == BASES
        assert len(reset_orphans(database)) == 1
        assert len(extracted_keys(database, after="generic-1050000", limit=25)) == 25
    assert len(statements) > 30
    assert scans_of(database, statements) == []
    assert len(scans_of(database, {"SELECT key FROM videos WHERE title = 'x'": ()})) == 1
    database.dispose()
