"""Tests that plant rows, change them with the catalog's functions, and read `pending_work`."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from data_miner_dagster import __version__
from data_miner_dagster.catalog.attempts import clear_attempts, forget_items, record_attempt
from data_miner_dagster.catalog.charges import charge_run
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import add_candidates, take_out
from data_miner_dagster.catalog.pending import (
    frames_basis_of,
    is_project_settled,
    join_frames_bases,
    project_basis,
    record_bases,
    refresh_bases,
    reindex_videos,
)
from data_miner_dagster.catalog.politeness import postpone_video
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_project_video, move_video
from data_miner_dagster.catalog.upkeep import record_internal_error
from data_miner_dagster.catalog.videos import delete_videos, retry_videos
from data_miner_dagster.catalog.work_tables import AttemptRow, PendingWorkRow
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import Failure, FailureKind, FailureScope, WorkStage
from data_miner_dagster_tests.support.catalog import FOUND_AT, add_project, add_video

LATER = datetime(2126, 1, 1, tzinfo=UTC)
VIDEO_BASIS, PICTURES_BASIS, ENCODER_BASIS = "a" * 32, "b" * 32, "c" * 32
BASES = {
    WorkStage.EXTRACTION: join_frames_bases(VIDEO_BASIS, PICTURES_BASIS),
    WorkStage.EMBEDDING: ENCODER_BASIS,
}
Columns = dict[str, Any]
READY: Columns = {"status": VideoStatus.EXTRACTED, "frames_basis": VIDEO_BASIS, "embedding_basis": ENCODER_BASIS}


def pending(database: Database) -> list[tuple[str, str, str]]:
    """Return the (stage, project, key) of each row of `pending_work`, sorted."""
    with database.reading() as session:
        rows = session.scalars(select(PendingWorkRow)).all()
    return sorted((row.stage.value, row.project_name, row.video_key) for row in rows)


def only_row(database: Database) -> PendingWorkRow:
    with database.reading() as session:
        return session.scalars(select(PendingWorkRow)).one()


def content_version(database: Database, project: str) -> int:
    row = find_project(database, project)
    assert row is not None
    return row.content_version


def move(database: Database, target: VideoStatus, **values: Any) -> None:
    with database.transaction() as session:
        assert move_video(session, "urls-a", target, **values)


@pytest.fixture
def bikes(database: Database) -> Database:
    """A catalog with a project and bases in force."""
    refresh_bases(database, BASES)
    add_project(database, "bikes")
    return database


def test_pending__no_videos_no_work(bikes: Database) -> None:
    assert pending(bikes) == []
    with bikes.reading() as session:
        assert is_project_settled(session, "bikes", utc_now())


FAILED: Columns = {"status": VideoStatus.FAILED}
UNAVAILABLE: Columns = {"status": VideoStatus.UNAVAILABLE, "sha256": "0"}
INTERNAL = FAILED | {"error_kind": VideoErrorKind.INTERNAL_ERROR}
STAGE_BY_VIDEO: dict[str, tuple[Columns, str | None]] = {
    "urls-new": ({"status": VideoStatus.PENDING}, "DOWNLOADING"),
    "urls-loading": ({"status": VideoStatus.DOWNLOADING}, "DOWNLOADING"),
    "urls-loaded": ({"status": VideoStatus.DOWNLOADED}, "EXTRACTION"),
    "urls-extracting": ({"status": VideoStatus.EXTRACTING}, "EXTRACTION"),
    "urls-frames-lost": (READY | {"frames_basis": None}, "EXTRACTION"),
    "urls-frames-old": (READY | {"frames_basis": "d" * 32}, "EXTRACTION"),
    "urls-frames-of-pictures": (READY | {"frames_basis": PICTURES_BASIS}, "EXTRACTION"),
    "urls-not-embedded": (READY | {"embedding_basis": None}, "EMBEDDING"),
    "urls-embedded-otherwise": (READY | {"embedding_basis": "d" * 32}, "EMBEDDING"),
    "urls-ready": (READY, None),
    "urls-damaged": (FAILED | {"error_kind": VideoErrorKind.UNDECODABLE, "sha256": "0"}, None),
    "urls-crashed-with-file": (FAILED | {"error_kind": VideoErrorKind.CRASHED, "sha256": "0"}, "EXTRACTION"),
    "urls-crashed": (FAILED | {"error_kind": VideoErrorKind.CRASHED}, "DOWNLOADING"),
    "urls-cut": (FAILED | {"error_kind": VideoErrorKind.TRUNCATED, "retry_after": LATER}, "DOWNLOADING"),
    "urls-private": (UNAVAILABLE | {"error_kind": VideoErrorKind.PRIVATE}, None),
    "urls-live": (UNAVAILABLE | {"error_kind": VideoErrorKind.LIVE, "retry_after": LATER}, "DOWNLOADING"),
    "urls-fault": (INTERNAL | {"internal_error_version": __version__}, None),
    "urls-old-fault": (INTERNAL | {"internal_error_version": "0.0.1"}, "DOWNLOADING"),
    "frames-ready": (READY | {"frames_basis": PICTURES_BASIS}, None),
    "frames-of-videos": (READY, "EXTRACTION"),
}


def test_pending__stage_of_each_video(bikes: Database) -> None:
    for key, (columns, _) in STAGE_BY_VIDEO.items():
        add_video(bikes, key, "bikes", **columns)
    expected = {key: stage for key, (_, stage) in STAGE_BY_VIDEO.items() if stage is not None}
    assert {key: stage for stage, _, key in pending(bikes)} == expected
    with bikes.reading() as session:
        rows = session.scalars(select(PendingWorkRow).where(PendingWorkRow.due_at > utc_now()))
        assert {row.video_key: row.due_at for row in rows} == {"urls-cut": LATER, "urls-live": LATER}


def test_frames_basis_of__a_folder_of_pictures_has_its_own() -> None:
    basis = BASES[WorkStage.EXTRACTION]
    assert (frames_basis_of("frames-b", basis), frames_basis_of("urls-a", basis)) == (PICTURES_BASIS, VIDEO_BASIS)


def test_pending__one_row_for_each_project_that_wants_the_video(bikes: Database) -> None:
    add_project(bikes, "trams")
    add_project(bikes, "boats")
    add_video(bikes, "urls-a", "bikes", "trams")
    add_video(bikes, "urls-a", "boats", member_status=ProjectVideoStatus.REJECTED)
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-a"), ("DOWNLOADING", "trams", "urls-a")]
    with bikes.transaction() as session:
        assert move_project_video(session, "trams", "urls-a", ProjectVideoStatus.REJECTED)
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-a")]
    assert (content_version(bikes, "trams"), content_version(bikes, "bikes")) == (1, 0)


def test_pending__the_way_of_a_video(bikes: Database) -> None:
    add_video(bikes, "urls-a", "bikes")
    since = only_row(bikes).since
    move(bikes, VideoStatus.DOWNLOADING)
    assert only_row(bikes).since == since  # the row of a stage stays until the stage is done
    move(bikes, VideoStatus.DOWNLOADED, sha256="0")
    assert pending(bikes) == [("EXTRACTION", "bikes", "urls-a")]
    move(bikes, VideoStatus.EXTRACTING)
    move(bikes, VideoStatus.EXTRACTED, frames_basis=VIDEO_BASIS)
    assert pending(bikes) == [("EMBEDDING", "bikes", "urls-a")]
    assert content_version(bikes, "bikes") == 0
    with bikes.transaction() as session:
        assert record_bases(session, WorkStage.EMBEDDING, {"urls-a": ENCODER_BASIS}) == ["urls-a"]
    assert (pending(bikes), content_version(bikes, "bikes")) == ([], 1)
    with bikes.transaction() as session:
        assert record_bases(session, WorkStage.EMBEDDING, {"urls-a": ENCODER_BASIS}) == []
    assert content_version(bikes, "bikes") == 1
    move(bikes, VideoStatus.EXTRACTING)  # forced: the embeddings belong to frames that will be replaced
    assert (pending(bikes), content_version(bikes, "bikes")) == ([("EXTRACTION", "bikes", "urls-a")], 2)
    move(bikes, VideoStatus.EXTRACTED, frames_basis=VIDEO_BASIS)
    assert pending(bikes) == [("EMBEDDING", "bikes", "urls-a")]


def test_pending__lost_frames_are_asked_for_again(bikes: Database) -> None:
    add_video(bikes, "urls-a", "bikes", **READY)
    with bikes.transaction() as session:
        record_bases(session, WorkStage.EXTRACTION, {"urls-a": None})
    assert pending(bikes) == [("EXTRACTION", "bikes", "urls-a")]


def test_pending__what_ends_or_postpones_it(bikes: Database) -> None:
    for key in ("fail", "postpone", "die", "fault", "out", "gone"):
        add_video(bikes, f"urls-{key}", "bikes")
    with bikes.transaction() as session:
        move_video(session, "urls-fail", VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
        move_video(session, "urls-die", VideoStatus.FAILED, error_kind=VideoErrorKind.CRASHED, retry_after=LATER)
        postpone_video(session, "urls-postpone", LATER, VideoErrorKind.RATE_LIMITED, "busy", attempts=0)
    record_internal_error(bikes, "urls-fault", "line", only_from={VideoStatus.PENDING}, stage=WorkStage.DOWNLOADING)
    take_out(bikes, "bikes", ["urls-out"])
    delete_videos(bikes, ["urls-gone"], only_unwanted=False)
    assert [row[2] for row in pending(bikes)] == ["urls-die", "urls-postpone"]
    with bikes.reading() as session:
        assert is_project_settled(session, "bikes", utc_now())
        assert not is_project_settled(session, "bikes", LATER)
    retry_videos(bikes)
    assert [row[2] for row in pending(bikes)] == ["urls-die", "urls-fail", "urls-fault", "urls-postpone"]
    with bikes.reading() as session:
        assert not is_project_settled(session, "bikes", utc_now())


def _candidate(key: str) -> VideoCandidate:
    return VideoCandidate(
        video_key=key,
        url=f"https://example.org/{key}",
        origin=Origin.FOREIGN,
        source="urls",
        query="q",
        rank=0,
        found_at=FOUND_AT,
    )


def test_add_candidates__pending_for_their_project_from_then_on(bikes: Database) -> None:
    add_project(bikes, "trams")
    add_video(bikes, "urls-c", "trams", **READY)
    decided = [(_candidate("urls-a"), None), (_candidate("urls-b"), "duration: too long"), (_candidate("urls-c"), None)]
    with bikes.transaction() as session:
        add_candidates(session, "bikes", decided)
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-a")]
    assert content_version(bikes, "bikes") == 1
    with bikes.transaction() as session:
        add_candidates(session, "bikes", decided)
    assert content_version(bikes, "bikes") == 1  # a listing without new videos causes no new build
    with bikes.transaction() as session:
        add_candidates(session, "bikes", [(_candidate("urls-b"), None), (_candidate("urls-a"), "duration: too short")])
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-b")]
    assert content_version(bikes, "bikes") == 2


def test_pending__failed_embedding_waits_for_its_date_or_for_a_change(bikes: Database) -> None:
    add_video(bikes, "urls-a", "bikes", **(READY | {"embedding_basis": None}))

    def fail(due_at: datetime | None, kind: str = FailureKind.FAILED, basis: str | None = None) -> None:
        with bikes.transaction() as session:
            record_attempt(session, WorkStage.EMBEDDING, "urls-a", Failure(kind, "broken", basis=basis), due_at)

    fail(LATER, basis="d" * 32)  # the basis of another encoder
    assert only_row(bikes).due_at <= utc_now()
    fail(LATER, basis=ENCODER_BASIS)
    assert only_row(bikes).due_at == LATER
    fail(None, kind=FailureKind.INTERNAL_ERROR)
    assert pending(bikes) == []
    with bikes.transaction() as session:
        session.execute(update(AttemptRow).values(version="0.0.1"))
        reindex_videos(session, ["urls-a"])
    assert only_row(bikes).due_at <= utc_now()
    fail(None)
    assert pending(bikes) == []
    with bikes.transaction() as session:
        forget_items(session, ["urls-a"])
    assert only_row(bikes).due_at <= utc_now()


@pytest.mark.parametrize("stage", [WorkStage.DOWNLOADING, WorkStage.EXTRACTION])
def test_pending__a_run_that_failed_for_no_reason_of_the_videos_is_asked_for_again_at_its_date(
    bikes: Database, stage: WorkStage
) -> None:
    status = VideoStatus.PENDING if stage is WorkStage.DOWNLOADING else VideoStatus.DOWNLOADED
    add_video(bikes, "urls-a", "bikes", status=status)
    fault = Failure(FailureKind.SYSTEMATIC_FAULT, "bug", FailureScope.BATCH)
    for _ in range(2):
        with bikes.transaction() as session:
            charge_run(session, stage, fault, ["urls-a"])
        assert only_row(bikes).due_at > utc_now()
    with bikes.transaction() as session:
        charge_run(session, stage, fault, ["urls-a"])
    assert pending(bikes) == []  # until another version is installed
    with bikes.transaction() as session:
        clear_attempts(session, stage, ["urls-a"])
    assert only_row(bikes).due_at <= utc_now()


def test_refresh_bases__another_setting_or_encoder_asks_again(bikes: Database) -> None:
    add_video(bikes, "urls-a", "bikes", **READY)
    add_video(bikes, "urls-b", "bikes")
    before = only_row(bikes).since
    assert refresh_bases(bikes, BASES) == 0
    assert refresh_bases(bikes, BASES | {WorkStage.EMBEDDING: "d" * 32}) == 1
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-b"), ("EMBEDDING", "bikes", "urls-a")]
    assert content_version(bikes, "bikes") == 1
    other = {WorkStage.EXTRACTION: join_frames_bases("d" * 32, PICTURES_BASIS), WorkStage.EMBEDDING: "d" * 32}
    assert refresh_bases(bikes, other) == 1
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-b"), ("EXTRACTION", "bikes", "urls-a")]
    assert refresh_bases(bikes, BASES) == 0
    assert pending(bikes) == [("DOWNLOADING", "bikes", "urls-b")]
    assert only_row(bikes).since == before


def test_refresh_bases__fills_the_table_of_an_earlier_catalog(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes")
    with database.transaction() as session:
        session.execute(PendingWorkRow.__table__.delete())  # type: ignore[attr-defined]
    assert refresh_bases(database, BASES) == 1
    assert pending(database) == [("DOWNLOADING", "bikes", "urls-a")]
    assert content_version(database, "bikes") == 0


def test_project_basis__differs_with_each_part(bikes: Database) -> None:
    row = find_project(bikes, "bikes")
    assert row is not None
    bases = {project_basis(row, models="m"), project_basis(row, models="n")}
    row.content_version += 1
    bases.add(project_basis(row, models="m"))
    row.config_hash = "other"
    bases.add(project_basis(row, models="m"))
    assert len(bases) == 4
