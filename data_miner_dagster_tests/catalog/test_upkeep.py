from datetime import timedelta

import pytest
from sqlalchemy import update

from data_miner_dagster.catalog.claims import hold_claim, live_claims, try_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.schema import ClaimRow, ProjectRow, utc_now
from data_miner_dagster.catalog.upkeep import delete_dead_claims, record_internal_error, reset_orphans
from data_miner_dagster.catalog.videos import (
    find_video,
    find_videos,
    is_due,
    keys_with_internal_errors,
    wanted_videos,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video


def statuses(database: Database) -> dict[str, str]:
    return {video.key: video.status.value for video in find_videos(database)}


def test_upkeep__empty(database: Database) -> None:
    assert reset_orphans(database) == []
    assert delete_dead_claims(database) == []


def test_reset_orphans__only_those_without_a_live_worker(database: Database) -> None:
    for key in ("urls-live", "urls-dead", "urls-expired"):
        add_video(database, key, status=VideoStatus.DOWNLOADING)
    add_video(database, "urls-extracting", status=VideoStatus.EXTRACTING)
    assert try_claim(database, "video/urls-expired") is not None
    with database.transaction() as session:
        session.execute(update(ClaimRow).values(host="elsewhere", expires_at=utc_now() - timedelta(seconds=1)))
    with hold_claim(database, "video/urls-live", wait_seconds=0):
        assert reset_orphans(database) == ["urls-dead", "urls-expired", "urls-extracting"]
        assert delete_dead_claims(database) == ["video/urls-expired"]
        assert [row.resource for row in live_claims(database)] == ["video/urls-live"]
    assert statuses(database) == {
        "urls-dead": "PENDING",
        "urls-expired": "PENDING",
        "urls-extracting": "DOWNLOADED",
        "urls-live": "DOWNLOADING",
    }


def test_reset_orphans__projects_wait_again_for_the_stage_that_was_cut_off(database: Database) -> None:
    stages = [*PROJECT_WAY, ProjectStage.COMPLETE, ProjectStage.FAILED]
    for stage in stages:
        add_project(database, f"cut-off-at-{stage.value.lower()}")
    add_project(database, "at-work")
    with database.transaction() as session:
        for stage in stages:
            session.get_one(ProjectRow, f"cut-off-at-{stage.value.lower()}").stage = stage
        session.get_one(ProjectRow, "at-work").stage = ProjectStage.DETECTION
    with hold_claim(database, "project/at-work", wait_seconds=0):
        assert reset_orphans(database) == [
            "cut-off-at-deduplication",
            "cut-off-at-detection",
            "cut-off-at-filtering",
            "cut-off-at-releasing",
        ]
    assert {row.name: row.stage.value for row in find_projects(database)} == {
        "at-work": "DETECTION",
        "cut-off-at-complete": "COMPLETE",
        "cut-off-at-deduplication": "DEDUPLICATION_READY",
        "cut-off-at-detection": "DETECTION_READY",
        "cut-off-at-failed": "FAILED",
        "cut-off-at-filtering": "SOURCING",
        "cut-off-at-releasing": "RELEASING_READY",
    }


ANY_STATUS = frozenset(VideoStatus)


def test_record_internal_error__due_by_itself_in_another_version_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.DOWNLOADING)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)

    assert record_internal_error(
        database, "urls-a", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS, stage=WorkStage.EXTRACTION
    )
    assert record_internal_error(
        database, "urls-b", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS, stage=WorkStage.EXTRACTION
    )

    for key in ("urls-a", "urls-b"):
        video = find_video(database, key)
        assert video is not None
        assert (video.status, video.error_kind) == (VideoStatus.FAILED, VideoErrorKind.INTERNAL_ERROR)
        assert video.error == "KeyError: 'x' (a.py:1)"
        assert not is_due(video)
    assert [video.retry_after for video in wanted_videos(database)] == [None, None]
    assert keys_with_internal_errors(database, ["urls-a", "urls-c"]) == {"urls-a"}

    monkeypatch.setattr("data_miner_dagster.catalog.videos.__version__", "99.0")
    video = find_video(database, "urls-a")
    assert video is not None
    assert is_due(video)
    due = wanted_videos(database)[0].retry_after
    assert due is not None
    assert due < utc_now()


def test_record_internal_error__not_under_a_live_worker_and_not_what_went_further(database: Database) -> None:
    add_video(database, "urls-held", status=VideoStatus.DOWNLOADING)
    add_video(database, "urls-done", status=VideoStatus.EXTRACTED)
    claim = try_claim(database, "video/urls-held")
    assert claim is not None

    assert not record_internal_error(database, "urls-held", "e", only_from=ANY_STATUS, stage=WorkStage.EXTRACTION)
    assert not record_internal_error(
        database, "urls-done", "e", only_from={VideoStatus.PENDING}, stage=WorkStage.EXTRACTION
    )
    assert statuses(database) == {"urls-done": "EXTRACTED", "urls-held": "DOWNLOADING"}
