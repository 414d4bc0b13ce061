from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from data_miner_dagster.catalog.catalog import Catalog
from data_miner_dagster.catalog.claims import hold_claim, live_claims, try_claim
from data_miner_dagster.catalog.queries import keys_with_internal_errors, wanted_videos
from data_miner_dagster.catalog.schema import ClaimRow, PrescreeningRow, ProjectRow, ReleaseRow, utc_now
from data_miner_dagster.catalog.upkeep import (
    delete_dead_claims,
    delete_project,
    delete_videos,
    give_up,
    record_internal_error,
    reset_orphans,
    retry_videos,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video


def statuses(catalog: Catalog) -> dict[str, str]:
    return {video.key: video.status.value for video in catalog.videos()}


def test_upkeep__empty(catalog: Catalog) -> None:
    assert retry_videos(catalog.database) == []
    assert delete_project(catalog.database, "bikes") is False
    assert delete_videos(catalog.database, []) == []
    assert reset_orphans(catalog.database) == []
    assert delete_dead_claims(catalog.database) == []


def test_retry_videos__back_to_where_they_may_be_tried_again(catalog: Catalog) -> None:
    failed: dict[str, Any] = {
        "error": "e",
        "error_kind": VideoErrorKind.TRUNCATED,
        "attempts": 3,
        "retry_after": datetime(2120, 1, 1, tzinfo=UTC),
    }
    add_video(catalog, "urls-download", status=VideoStatus.FAILED, **failed)
    add_video(catalog, "urls-extraction", status=VideoStatus.FAILED, sha256="a", **failed)
    add_video(catalog, "urls-private", status=VideoStatus.UNAVAILABLE, sha256=None)
    add_video(catalog, "urls-done", status=VideoStatus.EXTRACTED)
    assert retry_videos(catalog.database) == ["urls-download", "urls-extraction", "urls-private"]
    assert statuses(catalog) == {
        "urls-done": "EXTRACTED",
        "urls-download": "PENDING",
        "urls-extraction": "DOWNLOADED",
        "urls-private": "PENDING",
    }
    video = catalog.video("urls-download")
    assert video is not None
    assert (video.error, video.error_kind, video.attempts, video.retry_after) == (None, None, 0, None)


def test_retry_videos__of_a_project_and_a_kind(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(catalog, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TOO_LARGE)
    add_video(catalog, "urls-c", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    assert retry_videos(catalog.database, project="bikes", kinds={VideoErrorKind.TRUNCATED}) == ["urls-a"]
    assert retry_videos(catalog.database, video_keys=["urls-c", "urls-nowhere"]) == ["urls-c"]


def test_delete_project__memberships_go_videos_and_releases_stay(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_project(catalog, "trams")
    add_video(catalog, "urls-a", "bikes", "trams")
    with catalog.database.transaction() as session:
        catalog.add_release(
            session, ReleaseRow(project_name="bikes", version="v1", fingerprint="f", num_images=1, num_boxes=1)
        )
    assert delete_project(catalog.database, "bikes")
    assert [row.name for row in catalog.projects()] == ["trams"]
    assert catalog.members("bikes") == []
    assert [member.video_key for member in catalog.members("trams")] == ["urls-a"]
    assert [row.version for row in catalog.releases("bikes")] == ["v1"]


def test_delete_videos__wanted_ones_stay_unless_told_otherwise(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a", "bikes")
    add_video(catalog, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    add_video(catalog, "urls-c")
    keys = ["urls-c", "urls-b", "urls-a", "urls-nowhere"]
    assert delete_videos(catalog.database, keys) == ["urls-b", "urls-c"]
    assert statuses(catalog) == {"urls-a": "PENDING"}
    assert delete_videos(catalog.database, keys, only_unwanted=False) == ["urls-a"]
    assert catalog.members("bikes") == []


def test_delete_videos__what_was_noted_of_them_goes_too(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a")
    add_video(catalog, "urls-b", duplicate_of="urls-a")
    with catalog.database.transaction() as session:
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
    assert delete_videos(catalog.database, ["urls-a"]) == ["urls-a"]
    with catalog.database.reading() as session:
        assert session.scalars(select(PrescreeningRow)).all() == []
    other = catalog.video("urls-b")
    assert other is not None
    assert other.duplicate_of is None


def test_reset_orphans__only_those_without_a_live_worker(catalog: Catalog) -> None:
    for key in ("urls-live", "urls-dead", "urls-expired"):
        add_video(catalog, key, status=VideoStatus.DOWNLOADING)
    add_video(catalog, "urls-extracting", status=VideoStatus.EXTRACTING)
    assert try_claim(catalog.database, "video/urls-expired") is not None
    with catalog.database.transaction() as session:
        session.execute(update(ClaimRow).values(host="elsewhere", expires_at=utc_now() - timedelta(seconds=1)))
    with hold_claim(catalog.database, "video/urls-live", wait_seconds=0):
        assert reset_orphans(catalog.database) == ["urls-dead", "urls-expired", "urls-extracting"]
        assert delete_dead_claims(catalog.database) == ["video/urls-expired"]
        assert [row.resource for row in live_claims(catalog.database)] == ["video/urls-live"]
    assert statuses(catalog) == {
        "urls-dead": "PENDING",
        "urls-expired": "PENDING",
        "urls-extracting": "DOWNLOADED",
        "urls-live": "DOWNLOADING",
    }


def test_reset_orphans__projects_wait_again_for_the_stage_that_was_cut_off(catalog: Catalog) -> None:
    stages = [*PROJECT_WAY, ProjectStage.COMPLETE, ProjectStage.FAILED]
    for stage in stages:
        add_project(catalog, f"cut-off-at-{stage.value.lower()}")
    add_project(catalog, "at-work")
    with catalog.database.transaction() as session:
        for stage in stages:
            session.get_one(ProjectRow, f"cut-off-at-{stage.value.lower()}").stage = stage
        session.get_one(ProjectRow, "at-work").stage = ProjectStage.DETECTION
    with hold_claim(catalog.database, "project/at-work", wait_seconds=0):
        assert reset_orphans(catalog.database) == [
            "cut-off-at-deduplication",
            "cut-off-at-detection",
            "cut-off-at-filtering",
            "cut-off-at-releasing",
        ]
    assert {row.name: row.stage.value for row in catalog.projects()} == {
        "at-work": "DETECTION",
        "cut-off-at-complete": "COMPLETE",
        "cut-off-at-deduplication": "DEDUPLICATION_READY",
        "cut-off-at-detection": "DETECTION_READY",
        "cut-off-at-failed": "FAILED",
        "cut-off-at-filtering": "SOURCING",
        "cut-off-at-releasing": "RELEASING_READY",
    }


def test_give_up__every_status_but_under_a_live_worker(catalog: Catalog) -> None:
    keys = [f"urls-{status.value.lower()}" for status in VideoStatus if status is not VideoStatus.UNAVAILABLE]
    for key in keys:
        add_video(catalog, key, status=VideoStatus(key.removeprefix("urls-").upper()))
    with hold_claim(catalog.database, "video/urls-extracting", wait_seconds=0):
        given_up = give_up(catalog.database, [*keys, "urls-nowhere"], "five runs died of it")
    assert given_up == sorted(set(keys) - {"urls-extracting", "urls-failed"})
    video = catalog.video("urls-extracted")
    assert video is not None
    assert (video.status, video.error_kind, video.error, video.retry_after) == (
        VideoStatus.FAILED,
        VideoErrorKind.CRASHED,
        "five runs died of it",
        None,
    )


ANY_STATUS = frozenset(VideoStatus)


def test_record_internal_error__due_by_itself_in_another_version_only(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a", "bikes", status=VideoStatus.DOWNLOADING)
    add_video(catalog, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)

    assert record_internal_error(catalog.database, "urls-a", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS)
    assert record_internal_error(catalog.database, "urls-b", "KeyError: 'x' (a.py:1)", only_from=ANY_STATUS)

    for key in ("urls-a", "urls-b"):
        video = catalog.video(key)
        assert video is not None
        assert (video.status, video.error_kind) == (VideoStatus.FAILED, VideoErrorKind.INTERNAL_ERROR)
        assert video.error == "KeyError: 'x' (a.py:1)"
        assert not catalog.is_due(video)
    assert [video.retry_after for video in wanted_videos(catalog.database)] == [None, None]
    assert keys_with_internal_errors(catalog.database, ["urls-a", "urls-c"]) == {"urls-a"}

    monkeypatch.setattr("data_miner_dagster.catalog.queries.__version__", "99.0")
    video = catalog.video("urls-a")
    assert video is not None
    assert catalog.is_due(video)
    due = wanted_videos(catalog.database)[0].retry_after
    assert due is not None
    assert due < utc_now()


def test_record_internal_error__not_under_a_live_worker_and_not_what_went_further(catalog: Catalog) -> None:
    add_video(catalog, "urls-held", status=VideoStatus.DOWNLOADING)
    add_video(catalog, "urls-done", status=VideoStatus.EXTRACTED)
    claim = try_claim(catalog.database, "video/urls-held")
    assert claim is not None

    assert not record_internal_error(catalog.database, "urls-held", "e", only_from=ANY_STATUS)
    assert not record_internal_error(catalog.database, "urls-done", "e", only_from={VideoStatus.PENDING})
    assert statuses(catalog) == {"urls-done": "EXTRACTED", "urls-held": "DOWNLOADING"}


def test_retry_videos__of_internal_errors(catalog: Catalog) -> None:
    add_video(catalog, "urls-a", status=VideoStatus.DOWNLOADING)
    record_internal_error(catalog.database, "urls-a", "e", only_from=ANY_STATUS)

    assert retry_videos(catalog.database, kinds={VideoErrorKind.INTERNAL_ERROR}) == ["urls-a"]
    assert keys_with_internal_errors(catalog.database, ["urls-a"]) == {"urls-a"}  # which still is no news
