from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from data_miner_dagster.catalog.attempts import (
    FailureCount,
    charge_failure,
    clear_attempts,
    count_failures,
    next_due,
    num_attempts,
    record_attempt,
)
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.projects import delete_project
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import delete_videos, retry_videos
from data_miner_dagster.catalog.work_tables import AttemptRow
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import AT_ONCE, Failure, FailureKind, FailureScope, WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video, last_attempt

LATER = datetime(2100, 1, 1, tzinfo=UTC)
EMBEDDING, DETECTION = WorkStage.EMBEDDING, WorkStage.DETECTION


def test_next_due__of_what_has_not_failed_is_at_once(database: Database) -> None:
    with database.transaction() as session:
        assert next_due(session, EMBEDDING, "a") == AT_ONCE
        assert num_attempts(session, EMBEDDING, "a") == 0
        assert last_attempt(session, EMBEDDING, "a") is None
    assert count_failures(database) == []


def test_record_attempt__counts_by_stage_item_and_basis_until_the_item_succeeds(database: Database) -> None:
    with database.transaction() as session:
        for basis in ("old", "new", "new"):
            record_attempt(session, DETECTION, "a", Failure("failed", "why", basis=basis), LATER)
        record_attempt(session, DETECTION, "b", Failure("failed", "why"), None)
        record_attempt(session, EMBEDDING, "a", Failure("failed", "why"), LATER)
        assert num_attempts(session, DETECTION, "a") == 3
        assert num_attempts(session, DETECTION, "a", "new") == 2
        assert next_due(session, DETECTION, "a") == next_due(session, DETECTION, "a", "new") == LATER
        assert next_due(session, DETECTION, "a", "a third") == AT_ONCE
        assert next_due(session, DETECTION, "b", "any") is None
        clear_attempts(session, DETECTION, ["a"])
        assert [num_attempts(session, DETECTION, item) for item in ("a", "b")] == [0, 1]
        assert num_attempts(session, EMBEDDING, "a") == 1


def test_record_attempt__keeps_the_last_twenty(database: Database) -> None:
    with database.transaction() as session:
        for number in range(23):
            record_attempt(session, EMBEDDING, "a", Failure("failed", f"failure {number}"), LATER)
        assert num_attempts(session, EMBEDDING, "a") == 20
        first = session.scalar(select(AttemptRow.message).order_by(AttemptRow.id).limit(1))
        assert first == "failure 3"


def test_charge_failure__backs_off_by_doubling(database: Database) -> None:
    for seconds in (30, 60, 120):
        with database.transaction() as session:
            before = database.now(session)
            charge_failure(session, DETECTION, "a", Failure(FailureKind.FAILED, "why"))
            due = next_due(session, DETECTION, "a")
            assert due is not None
            assert timedelta(0) <= due - before - timedelta(seconds=seconds) < timedelta(seconds=20)


def test_charge_failure__a_fault_of_this_program_waits_for_another_version(database: Database) -> None:
    fault = Failure(FailureKind.SYSTEMATIC_FAULT, "bug", FailureScope.BATCH)
    with database.transaction() as session:
        charge_failure(session, EMBEDDING, "a", fault)
        charge_failure(session, EMBEDDING, "a", fault)
        assert next_due(session, EMBEDDING, "a") is not None
        charge_failure(session, EMBEDDING, "a", fault)
        assert next_due(session, EMBEDDING, "a") is None
        session.execute(update(AttemptRow).values(version="0.0.1"))
        assert next_due(session, EMBEDDING, "a") == AT_ONCE
        charge_failure(session, EMBEDDING, "b", Failure(FailureKind.NOTHING_TO_RELEASE, "empty"), waits=True)
        session.execute(update(AttemptRow).values(version="0.0.1"))
        assert next_due(session, EMBEDDING, "b") is None


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        (VideoStatus.PENDING, WorkStage.DOWNLOADING),
        (VideoStatus.DOWNLOADING, WorkStage.DOWNLOADING),
        (VideoStatus.DOWNLOADED, WorkStage.EXTRACTION),
        (VideoStatus.EXTRACTING, WorkStage.EXTRACTION),
        (VideoStatus.EXTRACTED, WorkStage.EMBEDDING),
    ],
)
def test_move_video__records_its_failure_at_the_stage_that_failed(
    database: Database, status: VideoStatus, stage: WorkStage
) -> None:
    add_video(database, "a", status=status)
    failed: dict[str, Any] = {"error_kind": VideoErrorKind.UNDECODABLE, "error": "why", "retry_after": LATER}
    with database.transaction() as session:
        assert move_video(session, "a", VideoStatus.FAILED, **failed)
        assert not move_video(session, "a", VideoStatus.FAILED, **failed)
    assert count_failures(database) == [FailureCount(stage, FailureScope.ITEM, "undecodable", 1, LATER, "why")]
    add_project(database, "other")
    assert count_failures(database, "other") == []
    add_video(database, "a", "other")
    assert len(count_failures(database, "other")) == 1
    assert retry_videos(database) == ["a"]
    assert count_failures(database) == []


def test_move_video__what_a_whole_site_or_a_full_disk_refuses_is_no_attempt_of_the_video(database: Database) -> None:
    add_video(database, "a")
    with database.transaction() as session:
        kinds: dict[str, Any] = {"error_kind": VideoErrorKind.RATE_LIMITED, "retry_after": LATER}
        assert move_video(session, "a", VideoStatus.FAILED, **kinds)
    assert count_failures(database) == []


def test_move_video__success_removes_the_attempts_at_its_stage_alone(database: Database) -> None:
    add_video(database, "a", status=VideoStatus.EXTRACTING)
    with database.transaction() as session:
        for stage in (WorkStage.EXTRACTION, EMBEDDING):
            record_attempt(session, stage, "a", Failure("failed", "why"), LATER)
        assert move_video(session, "a", VideoStatus.EXTRACTED)
    assert [failed.stage for failed in count_failures(database)] == [EMBEDDING]


def test_attempts__go_with_their_video_or_project(database: Database) -> None:
    add_project(database, "p")
    add_video(database, "a")
    with database.transaction() as session:
        for item in ("p", "a", "other"):
            record_attempt(session, EMBEDDING, item, Failure("failed", "why"), LATER)
    delete_videos(database, ["a"])
    delete_project(database, "p")
    with database.reading() as session:
        assert session.scalars(select(AttemptRow.item)).all() == ["other"]
        assert session.scalar(select(func.count(AttemptRow.id))) == 1
