"""Rows of measurements, on both databases."""

from contextlib import suppress
from typing import Any

from sqlalchemy import select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.measurements import spent_by_stage, store_spent
from data_miner_dagster.catalog.projects import delete_project
from data_miner_dagster.catalog.videos import delete_videos
from data_miner_dagster.catalog.work_tables import MeasurementRow
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import Meter, note
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video


class _CannotCommitError(Exception):
    """Raised to roll a transaction back."""


def spend(database: Database, stage: WorkStage, subject: str, run_id: str | None, **results: Any) -> None:
    """Record that a run spent one request of 1000 bytes on a subject."""
    with Meter(stage, subject, run_id).working(), database.transaction() as session:
        note(Measured(num_requests=1, bytes_received=1000))
        store_spent(session, subject, **results)


def counts_of(measured: Measured) -> dict[str, int | float]:
    return {name: value for name, value in measured.told().items() if not name.endswith("_seconds")}


def rows(database: Database) -> list[tuple[str, WorkStage, str]]:
    with database.reading() as session:
        found = session.scalars(select(MeasurementRow).order_by(MeasurementRow.subject, MeasurementRow.run_id))
        return [(row.subject, row.stage, row.run_id) for row in found]


def test_spent_by_stage__nothing(database: Database) -> None:
    assert spent_by_stage(database) == {}
    assert spent_by_stage(database, "bikes") == {}


def test_store_spent__attempts_of_a_run_share_a_row(database: Database) -> None:
    spend(database, WorkStage.DOWNLOADING, "a", "run-1", is_failed=True)
    spend(database, WorkStage.DOWNLOADING, "a", "run-1", bytes_written=900)
    spend(database, WorkStage.DOWNLOADING, "a", None)
    assert rows(database) == [("a", WorkStage.DOWNLOADING, ""), ("a", WorkStage.DOWNLOADING, "run-1")]
    (spent,) = spent_by_stage(database).values()
    assert counts_of(spent) == {
        "num_items": 3,
        "num_failed": 1,
        "num_requests": 3,
        "bytes_received": 3000,
        "bytes_written": 900,
    }
    assert 0 < spent.cpu_seconds < 5
    assert spent.wall_seconds > 0


def test_store_spent__what_is_stored_is_not_stored_again(database: Database) -> None:
    with Meter(WorkStage.DOWNLOADING, "a").working():
        note(Measured(num_requests=2))
        for _ in range(2):
            with database.transaction() as session:
                store_spent(session, "a")
    assert spent_by_stage(database)[WorkStage.DOWNLOADING].num_requests == 2


def test_store_spent__nothing_without_a_meter_for_another_subject_or_after_a_rollback(database: Database) -> None:
    with database.transaction() as session:
        store_spent(session, "a")
    with Meter(WorkStage.DOWNLOADING, "b").working(), database.transaction() as session:
        store_spent(session, "a")
    with Meter(WorkStage.DOWNLOADING, "a").working(), suppress(_CannotCommitError), database.transaction() as session:
        store_spent(session, "a")
        raise _CannotCommitError
    assert rows(database) == []


def test_spent_by_stage__a_project_has_its_own_and_that_of_its_videos(database: Database) -> None:
    for project in ("bikes", "trams"):
        add_project(database, project)
    add_video(database, "shared", "bikes")
    add_video(database, "shared", "trams")
    add_video(database, "of-trams", "trams")
    spend(database, WorkStage.EXTRACTION, "shared", "run-1", num_frames=5)
    spend(database, WorkStage.EXTRACTION, "of-trams", "run-1", num_frames=2)
    spend(database, WorkStage.DETECTION, "bikes", "run-2", num_boxes=7)
    of_bikes = spent_by_stage(database, "bikes")
    assert list(of_bikes) == [WorkStage.EXTRACTION, WorkStage.DETECTION]
    assert (of_bikes[WorkStage.EXTRACTION].num_frames, of_bikes[WorkStage.DETECTION].num_boxes) == (5, 7)
    assert {stage: spent.num_frames for stage, spent in spent_by_stage(database, "trams").items()} == {
        WorkStage.EXTRACTION: 7
    }
    assert spent_by_stage(database)[WorkStage.EXTRACTION].num_frames == 7


def test_delete__takes_the_rows_of_a_video_and_of_a_project(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "bikes", "bikes")  # a video's key may equal a project's name
    spend(database, WorkStage.DOWNLOADING, "bikes", "run-1")
    spend(database, WorkStage.RELEASING, "bikes", "run-2")
    delete_project(database, "bikes")
    assert rows(database) == [("bikes", WorkStage.DOWNLOADING, "run-1")]
    delete_videos(database, ["bikes"])
    assert rows(database) == []
