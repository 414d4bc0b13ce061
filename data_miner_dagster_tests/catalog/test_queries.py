from datetime import UTC, datetime

from data_miner_dagster.catalog.catalog import Catalog
from data_miner_dagster.catalog.queries import (
    ProjectProgress,
    StatusCount,
    count_project_videos,
    count_videos,
    failed_videos,
    find_videos,
    project_progress,
    projects_wanting,
    unwanted_videos,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2120, 1, 1, tzinfo=UTC)


def test_queries__empty(catalog: Catalog) -> None:
    database = catalog.database
    assert project_progress(database) == []
    assert list(find_videos(database)) == []
    assert count_videos(database) == []
    assert count_project_videos(database) == []
    assert list(unwanted_videos(database)) == []
    assert projects_wanting(database, []) == {}


def test_project_progress__failed_and_unavailable_hold_nothing_up(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_project(catalog, "empty")
    add_project(catalog, "unlisted", is_sourced=False)
    add_video(catalog, "urls-a", "bikes", status=VideoStatus.EXTRACTED)
    add_video(catalog, "urls-b", "bikes", status=VideoStatus.FAILED)
    add_video(catalog, "urls-c", "bikes", status=VideoStatus.UNAVAILABLE)
    add_video(catalog, "urls-d", "bikes", member_status=ProjectVideoStatus.REJECTED)
    bikes = ProjectProgress("bikes", ProjectStage.SOURCING, True, 3, 1, 3, 1)
    assert project_progress(catalog.database) == [
        bikes,
        ProjectProgress("empty", ProjectStage.SOURCING, True, 0, 0, 0, 0),
        ProjectProgress("unlisted", ProjectStage.SOURCING, False, 0, 0, 0, 0),
    ]
    catalog.save_project("bikes", {}, "another hash", None)
    assert not project_progress(catalog.database)[0].is_sourced


def test_find_videos__by_project_status_kind_and_limit(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(catalog, "urls-b", status=VideoStatus.UNAVAILABLE, error_kind=VideoErrorKind.PRIVATE)
    add_video(catalog, "urls-c", "bikes")
    database = catalog.database
    assert [video.key for video in failed_videos(database)] == ["urls-a", "urls-b"]
    assert [video.key for video in failed_videos(database, "bikes")] == ["urls-a"]
    assert [video.key for video in find_videos(database, kinds={VideoErrorKind.PRIVATE})] == ["urls-b"]
    assert [video.key for video in find_videos(database, limit=1)] == ["urls-a"]


def test_count_videos__with_reasons_in_order(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_video(catalog, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(catalog, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.EMPTY_FILE)
    add_video(catalog, "urls-c", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(catalog, "urls-d")
    assert count_videos(catalog.database) == [
        StatusCount("PENDING", "", 1),
        StatusCount("FAILED", "empty_file", 1),
        StatusCount("FAILED", "truncated", 2),
    ]
    assert count_videos(catalog.database, "bikes")[0].status == "FAILED"


def test_count_project_videos__rejections_by_rule(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    rejected = ProjectVideoStatus.REJECTED
    add_video(catalog, "urls-a", "bikes", member_status=rejected, reason="duration: 900 s is longer than 600 s")
    add_video(catalog, "urls-b", "bikes", member_status=rejected, reason="duration: 700 s is longer than 600 s")
    add_video(catalog, "urls-c", "bikes", member_status=rejected, reason="live: is live")
    add_video(catalog, "urls-d", "bikes")
    assert count_project_videos(catalog.database, "bikes") == [
        StatusCount("PENDING", "", 1),
        StatusCount("REJECTED", "duration", 2),
        StatusCount("REJECTED", "live", 1),
    ]


def test_unwanted_videos__without_membership_or_rejected_by_all(catalog: Catalog) -> None:
    add_project(catalog, "bikes")
    add_project(catalog, "trams")
    add_video(catalog, "urls-a", "bikes", "trams")
    add_video(catalog, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    add_video(catalog, "urls-c")
    assert [video.key for video in unwanted_videos(catalog.database)] == ["urls-b", "urls-c"]
    assert projects_wanting(catalog.database, ["urls-a", "urls-b", "urls-c"]) == {"urls-a": ("bikes", "trams")}
