from datetime import UTC, datetime

from data_miner_dagster.catalog.counts import StatusCount, VideoCount, count_project_videos, count_videos
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
        VideoCount("PENDING", "", 1, 0, None),
        VideoCount("FAILED", "empty_file", 1, 0, None),
        VideoCount("FAILED", "truncated", 2, 0, None),
    ]
    assert count_videos(database, "bikes")[0].status == "FAILED"


def test_count_videos__what_may_pass_is_stuck_after_some_attempts(database: Database) -> None:
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    for key, kind, attempts, due in (
        ("urls-a", VideoErrorKind.TRANSIENT, 2, second),
        ("urls-b", VideoErrorKind.TRANSIENT, 3, first),
        ("urls-c", VideoErrorKind.TRANSIENT, 9, second),
        ("urls-d", VideoErrorKind.TRUNCATED, 9, None),
    ):
        add_video(database, key, status=VideoStatus.FAILED, error_kind=kind, attempts=attempts, retry_after=due)
    assert count_videos(database, stuck_after=3) == [
        VideoCount("FAILED", "transient", 3, 2, first),
        VideoCount("FAILED", "truncated", 1, 0, None),
    ]


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
