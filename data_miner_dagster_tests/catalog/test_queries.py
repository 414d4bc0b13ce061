from datetime import UTC, datetime

from data_miner_dagster.catalog.counts import StatusCount, count_project_videos, count_videos
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import projects_wanting
from data_miner_dagster.catalog.projects import ProjectProgress, project_progress, save_snapshot
from data_miner_dagster.catalog.videos import find_videos, unwanted_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video

PAST = datetime(2020, 1, 1, tzinfo=UTC)
FUTURE = datetime(2120, 1, 1, tzinfo=UTC)


def test_queries__empty(database: Database) -> None:
    assert project_progress(database) == []
    assert list(find_videos(database)) == []
    assert count_videos(database) == []
    assert count_project_videos(database) == []
    assert list(unwanted_videos(database)) == []
    assert projects_wanting(database, []) == {}


def test_project_progress__failed_and_unavailable_hold_nothing_up(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "empty")
    add_project(database, "unlisted", is_sourced=False)
    add_video(database, "urls-a", "bikes", status=VideoStatus.EXTRACTED)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED)
    add_video(database, "urls-c", "bikes", status=VideoStatus.UNAVAILABLE)
    add_video(database, "urls-d", "bikes", member_status=ProjectVideoStatus.REJECTED)
    bikes = ProjectProgress("bikes", ProjectStage.SOURCING, True, 3, 1, 3, 1)
    assert project_progress(database) == [
        bikes,
        ProjectProgress("empty", ProjectStage.SOURCING, True, 0, 0, 0, 0),
        ProjectProgress("unlisted", ProjectStage.SOURCING, False, 0, 0, 0, 0),
    ]
    save_snapshot(database, "bikes", {}, "another hash", None)
    assert not project_progress(database)[0].is_sourced


def test_find_videos__by_key_project_and_status(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(database, "urls-b", status=VideoStatus.UNAVAILABLE, error_kind=VideoErrorKind.PRIVATE)
    add_video(database, "urls-c", "bikes")
    failed = {VideoStatus.FAILED, VideoStatus.UNAVAILABLE}
    assert [video.key for video in find_videos(database, statuses=failed)] == ["urls-a", "urls-b"]
    assert [video.key for video in find_videos(database, project="bikes", statuses=failed)] == ["urls-a"]
    assert [video.key for video in find_videos(database, ["urls-c", "urls-b"], statuses=failed)] == ["urls-b"]


def test_count_videos__with_reasons_in_order(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.EMPTY_FILE)
    add_video(database, "urls-c", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(database, "urls-d")
    assert count_videos(database) == [
        StatusCount("PENDING", "", 1),
        StatusCount("FAILED", "empty_file", 1),
        StatusCount("FAILED", "truncated", 2),
    ]
    assert count_videos(database, "bikes")[0].status == "FAILED"


def test_count_project_videos__rejections_by_rule(database: Database) -> None:
    add_project(database, "bikes")
    rejected = ProjectVideoStatus.REJECTED
    add_video(database, "urls-a", "bikes", member_status=rejected, reason="duration: 900 s is longer than 600 s")
    add_video(database, "urls-b", "bikes", member_status=rejected, reason="duration: 700 s is longer than 600 s")
    add_video(database, "urls-c", "bikes", member_status=rejected, reason="live: is live")
    add_video(database, "urls-d", "bikes")
    assert count_project_videos(database, "bikes") == [
        StatusCount("PENDING", "", 1),
        StatusCount("REJECTED", "duration", 2),
        StatusCount("REJECTED", "live", 1),
    ]


def test_unwanted_videos__without_membership_or_rejected_by_all(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    add_video(database, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    add_video(database, "urls-c")
    assert [video.key for video in unwanted_videos(database)] == ["urls-b", "urls-c"]
    assert projects_wanting(database, ["urls-a", "urls-b", "urls-c"]) == {"urls-a": ("bikes", "trams")}
