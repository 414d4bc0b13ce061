from data_miner_dagster.catalog.counts import StatusCount, count_project_videos, count_videos
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video


def test_count_videos__empty(database: Database) -> None:
    assert count_videos(database) == []
    assert count_project_videos(database) == []


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
