from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.holds import (
    WorkScope,
    find_holds,
    hold_items,
    is_stage_held,
    is_work_held,
    lines_of_holds,
    release_holds,
    why_held,
    work_within,
)
from data_miner_dagster.catalog.projects import delete_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.videos import delete_videos
from data_miner_dagster.catalog.work_tables import Base, BatchItemRow, PendingWorkRow, WorkBatchRow
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOWNLOADING, EMBEDDING = WorkStage.DOWNLOADING, WorkStage.EMBEDDING


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Return a catalog in which `a` wants video 1, and both `a` and `b` want video 2, at two stages each."""
    database = Database(sqlite_url(tmp_path / "catalog.sqlite"))
    Base.metadata.create_all(database.engine)
    for name in ("a", "b"):
        add_project(database, name)
    add_video(database, "v-1", "a")
    add_video(database, "v-2", "a", "b")
    with database.transaction() as session:
        session.add_all(
            PendingWorkRow(stage=EMBEDDING, project_name=project, video_key=key, due_at=NOW, since=NOW)
            for project, key in (("a", "v-1"), ("a", "v-2"), ("b", "v-2"))
        )
    return database


def held(database: Database) -> list[str]:
    """Return the pending work that is held, as "project video stage"."""
    query = select(PendingWorkRow).where(is_work_held())
    with database.reading() as session:
        rows = session.scalars(query).all()
    return sorted(f"{row.project_name} {row.video_key} {row.stage[:2]}" for row in rows)


def test_is_work_held__nothing_is(database: Database) -> None:
    assert held(database) == []
    assert lines_of_holds(database) == []
    assert release_holds(database) == []


@pytest.mark.parametrize(
    ("project", "stage", "keys", "expected"),
    [
        ("a", None, None, ["a v-1 DO", "a v-1 EM", "a v-2 DO", "a v-2 EM"]),
        ("b", DOWNLOADING, None, ["b v-2 DO"]),
        (None, EMBEDDING, None, ["a v-1 EM", "a v-2 EM", "b v-2 EM"]),
        (None, None, ["v-1"], ["a v-1 DO", "a v-1 EM"]),
        (None, DOWNLOADING, ["v-2"], ["a v-2 DO", "b v-2 DO"]),
        ("b", EMBEDDING, ["v-1", "v-2"], ["b v-2 EM"]),
    ],
)
def test_is_work_held__what_is_named(
    database: Database, project: str | None, stage: WorkStage | None, keys: list[str] | None, expected: list[str]
) -> None:
    num_new = hold_items(database, project=project, stage=stage, video_keys=keys, reason="because")
    assert num_new == (len(keys) if keys else 1)
    assert held(database) == expected
    assert hold_items(database, project=project, stage=stage, video_keys=keys, reason="again") == 0
    assert len(release_holds(database, project=project, stage=stage)) == num_new
    assert held(database) == []


def test_is_stage_held__only_holds_without_a_video(database: Database) -> None:
    def projects(stage: WorkStage) -> list[str]:
        with database.reading() as session:
            return list(session.scalars(select(ProjectRow.name).where(is_stage_held(ProjectRow.name, stage))))

    hold_items(database, project="a", video_keys=["v-1"], reason="because")
    assert projects(WorkStage.FILTERING) == []
    hold_items(database, project="a", stage=WorkStage.FILTERING, reason="because")
    assert projects(WorkStage.FILTERING) == ["a"]
    assert projects(WorkStage.RELEASING) == []
    why = why_held(database, "a", WorkStage.FILTERING)
    assert why is not None
    assert why.startswith("filtering of project a has been held since ")
    assert why_held(database, "a") is None
    hold_items(database, reason="because")
    assert projects(WorkStage.RELEASING) == ["a", "b"]


def test_release_holds__what_covers_more_stays(database: Database) -> None:
    hold_items(database, stage=DOWNLOADING, reason="for all")
    hold_items(database, stage=DOWNLOADING, video_keys=["v-2"], reason="its run was cancelled")
    hold_items(database, project="a", reason="paused")
    assert [row.reason for row in release_holds(database, project="b")] == ["its run was cancelled"]
    assert release_holds(database, project="a", stage=DOWNLOADING) == []
    assert len(release_holds(database, project="a")) == 1
    assert len(release_holds(database, stage=DOWNLOADING)) == 1


def test_lines_of_holds__groups_with_the_way_out(database: Database) -> None:
    hold_items(database, stage=DOWNLOADING, video_keys=["v-1", "v-2"], reason="its run was cancelled")
    hold_items(database, project="b", reason="paused")
    first, second = (line.partition(" been held since ")[0] for line in lines_of_holds(database))
    assert (first, second) == ("2 videos at downloading have", "project b has")
    assert [line.partition("to resume, run ")[2] for line in lines_of_holds(database)] == [
        "`data-miner resume --stage downloading`, which ends every hold on downloading of every project",
        "`data-miner resume --project b`",
    ]
    assert len(lines_of_holds(database, "a")) == 1


def test_work_within__a_project_in_flight_is_not_a_video(database: Database) -> None:
    with database.transaction() as session:
        session.add(WorkBatchRow(id=1, stage=WorkStage.DETECTION, size=1, created_at=NOW))
        session.flush()
        session.add(BatchItemRow(stage=WorkStage.DETECTION, item="a", batch_id=1))
    within = work_within(database, WorkScope("a"))
    assert (within.num_waiting, within.num_in_flight) == (4, 1)  # two videos at two stages each, and the project itself


def test_resume_command__many_videos_are_named_by_a_file() -> None:
    assert WorkScope("a", video_keys=("v-1", "v-2")).resume_command == "data-miner resume v-1 v-2 --project a"
    many = tuple(f"v-{number}" for number in range(6))
    assert WorkScope(None, EMBEDDING, many).resume_command == "data-miner resume --keys-file FILE --stage embedding"


def test_delete__holds_go_along(database: Database) -> None:
    hold_items(database, project="b", reason="paused")
    hold_items(database, video_keys=["v-1"], reason="paused")
    delete_project(database, "b")
    delete_videos(database, ["v-1"], only_unwanted=False)
    assert find_holds(database) == []
