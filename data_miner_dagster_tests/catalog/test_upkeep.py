from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from data_miner_dagster.catalog.claims import hold_claim, live_claims, try_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import delete_project, find_projects
from data_miner_dagster.catalog.releases import add_release, find_releases
from data_miner_dagster.catalog.schema import ClaimRow, PrescreeningRow, ProjectRow, ReleaseRow, utc_now
from data_miner_dagster.catalog.upkeep import delete_dead_claims, give_up, record_internal_error, reset_orphans
from data_miner_dagster.catalog.videos import (
    delete_videos,
    find_video,
    find_videos,
    is_due,
    keys_with_internal_errors,
    retry_videos,
    wanted_videos,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video


def statuses(database: Database) -> dict[str, str]:
    return {video.key: video.status.value for video in find_videos(database)}


def test_upkeep__empty(database: Database) -> None:
    assert retry_videos(database) == []
    assert delete_project(database, "bikes") is False
    assert delete_videos(database, []) == []
    assert reset_orphans(database) == []
    assert delete_dead_claims(database) == []


def test_retry_videos__back_to_where_they_may_be_tried_again(database: Database) -> None:
    failed: dict[str, Any] = {
        "error": "e",
        "error_kind": VideoErrorKind.TRUNCATED,
        "attempts": 3,
        "retry_after": datetime(2120, 1, 1, tzinfo=UTC),
    }
    add_video(database, "urls-download", status=VideoStatus.FAILED, **failed)
    add_video(database, "urls-extraction", status=VideoStatus.FAILED, sha256="a", **failed)
    add_video(database, "urls-private", status=VideoStatus.UNAVAILABLE, sha256=None)
    add_video(database, "urls-done", status=VideoStatus.EXTRACTED)
    assert retry_videos(database) == ["urls-download", "urls-extraction", "urls-private"]
    assert statuses(database) == {
        "urls-done": "EXTRACTED",
        "urls-download": "PENDING",
        "urls-extraction": "DOWNLOADED",
        "urls-private": "PENDING",
    }
    video = find_video(database, "urls-download")
    assert video is not None
    assert (video.error, video.error_kind, video.attempts, video.retry_after) == (None, None, 0, None)


def test_retry_videos__of_a_project_and_a_kind(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TOO_LARGE)
    add_video(database, "urls-c", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    assert retry_videos(database, project="bikes", kinds={VideoErrorKind.TRUNCATED}) == ["urls-a"]
    assert retry_videos(database, video_keys=["urls-c", "urls-nowhere"]) == ["urls-c"]


def test_delete_project__memberships_go_videos_and_releases_stay(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    with database.transaction() as session:
        add_release(session, ReleaseRow(project_name="bikes", version="v1", fingerprint="f", num_images=1, num_boxes=1))
    assert delete_project(database, "bikes")
    assert [row.name for row in find_projects(database)] == ["trams"]
    assert find_members(database, "bikes") == []
    assert [member.video_key for member in find_members(database, "trams")] == ["urls-a"]
    assert [row.version for row in find_releases(database, "bikes")] == ["v1"]


def test_delete_videos__wanted_ones_stay_unless_told_otherwise(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes")
    add_video(database, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    add_video(database, "urls-c")
    keys = ["urls-c", "urls-b", "urls-a", "urls-nowhere"]
    assert delete_videos(database, keys) == ["urls-b", "urls-c"]
    assert statuses(database) == {"urls-a": "PENDING"}
    assert delete_videos(database, keys, only_unwanted=False) == ["urls-a"]
    assert find_members(database, "bikes") == []


def test_delete_videos__what_was_noted_of_them_goes_too(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a")
    add_video(database, "urls-b", duplicate_of="urls-a")
    with database.transaction() as session:
        session.add(
            PrescreeningRow(
                project_name="bikes",
                video_key="urls-a",
                fingerprint="f",
                similarity=0.5,
                prompt="a bicycle",
                num_pictures=1,
                scored_at=utc_now(),
            )
        )
    assert delete_videos(database, ["urls-a"]) == ["urls-a"]
    with database.reading() as session:
        assert session.scalars(select(PrescreeningRow)).all() == []
    other = find_video(database, "urls-b")
    assert other is not None
    assert other.duplicate_of is None


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


def test_give_up__every_status_but_under_a_live_worker(database: Database) -> None:
    keys = [f"urls-{status.value.lower()}" for status in VideoStatus if status is not VideoStatus.UNAVAILABLE]
    for key in keys:
        add_video(database, key, status=VideoStatus(key.removeprefix("urls-").upper()))
    with hold_claim(database, "video/urls-extracting", wait_seconds=0):
        given_up = give_up(database, [*keys, "urls-nowhere"], "five runs died of it")
    assert given_up == sorted(set(keys) - {"urls-extracting", "urls-failed"})
    video = find_video(database, "urls-extracted")
    assert video is not None
    assert (video.status, video.error_kind, video.error, video.retry_after) == (
        VideoStatus.FAILED,
        VideoErrorKind.CRASHED,
        "five runs died of it",
        None,
    )


ANY_STATUS = frozenset(VideoStatus)


def test_record_internal_error__due_by_itself_in_another_version_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.DOWNLOADING)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)

    assert record_internal_error(database, "urls-a", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS)
    assert record_internal_error(database, "urls-b", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS)

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

    assert not record_internal_error(database, "urls-held", "e", only_from=ANY_STATUS)
    assert not record_internal_error(database, "urls-done", "e", only_from={VideoStatus.PENDING})
    assert statuses(database) == {"urls-done": "EXTRACTED", "urls-held": "DOWNLOADING"}


def test_retry_videos__of_internal_errors(database: Database) -> None:
    add_video(database, "urls-a", status=VideoStatus.DOWNLOADING)
    record_internal_error(database, "urls-a", "e", only_from=ANY_STATUS)

    assert retry_videos(database, kinds={VideoErrorKind.INTERNAL_ERROR}) == ["urls-a"]
    assert keys_with_internal_errors(database, ["urls-a"]) == {"urls-a"}  # which still is no news
