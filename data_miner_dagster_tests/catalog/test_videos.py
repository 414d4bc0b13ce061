import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import find_members, projects_wanting
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.schema import PrescreeningRow, VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.upkeep import record_internal_error
from data_miner_dagster.catalog.videos import (
    delete_videos,
    find_video,
    find_videos,
    is_due,
    keys_with_internal_errors,
    keys_with_prefix,
    record_downloaded,
    retry_videos,
    unwanted_videos,
    wanted_videos,
)
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoFileRecord
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video


def statuses(database: Database) -> dict[str, str]:
    return {video.key: video.status.value for video in find_videos(database)}


def test_find_videos__empty(database: Database) -> None:
    assert find_videos(database) == []
    assert find_videos(database, []) == []
    assert find_video(database, "urls-a") is None
    assert list(unwanted_videos(database)) == []
    assert retry_videos(database) == []
    assert delete_videos(database, []) == []


def test_find_videos__by_key_project_and_status(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.FAILED, error_kind=VideoErrorKind.TRUNCATED)
    add_video(database, "urls-b", status=VideoStatus.UNAVAILABLE, error_kind=VideoErrorKind.PRIVATE)
    add_video(database, "urls-c", "bikes")
    failed = {VideoStatus.FAILED, VideoStatus.UNAVAILABLE}
    assert [video.key for video in find_videos(database, statuses=failed)] == ["urls-a", "urls-b"]
    assert [video.key for video in find_videos(database, project="bikes", statuses=failed)] == ["urls-a"]
    assert [video.key for video in find_videos(database, ["urls-c", "urls-b"], statuses=failed)] == ["urls-b"]


def test_keys_with_prefix__whatever_the_locale_of_the_database(database: Database) -> None:
    """In en_US.UTF-8, the locale of PostgreSQL's own image, 'file-a' is not between 'file-' and 'file.'."""
    keys = ["file-A b.0", "file-a.1", "file-\xe9.2"]
    for key in (*reversed(keys), "file.x", "file", "files-x", "frames-a.1"):
        add_video(database, key)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert keys_with_prefix(database, "file-") == keys
    asked = "".join(statements)
    assert asked.count('COLLATE "C"') == (3 if database.is_postgresql else 0)  # for both bounds and the order


def test_wanted_videos__what_may_pass_and_has_no_date_is_due(database: Database) -> None:
    add_project(database, "bikes")
    for key, kind in (
        ("urls-a", VideoErrorKind.TRANSIENT),
        ("urls-b", VideoErrorKind.CRASHED),
        ("urls-c", VideoErrorKind.TRUNCATED),
    ):
        add_video(database, key, "bikes", status=VideoStatus.FAILED, error_kind=kind)
    assert [is_due(video) for video in find_videos(database)] == [True, True, False]
    dates = [video.retry_after for video in wanted_videos(database)]
    assert [date is not None and date < utc_now() for date in dates] == [True, True, False]


def test_find_videos__many_keys_sorted_whatever_their_order(database: Database) -> None:
    with database.transaction() as session:
        session.add_all(VideoRow(key=f"urls-{i:05d}", url="u", status=VideoStatus.PENDING) for i in range(6000))
    keys = [f"urls-{i:05d}" for i in range(12000)][::-1]
    assert [row.key for row in find_videos(database, keys)] == [f"urls-{i:05d}" for i in range(6000)]
    assert [row.key for row in find_videos(database, ["urls-00002", "urls-00001", "urls-00002"])] == [
        "urls-00001",
        "urls-00002",
    ]


@pytest.fixture
def reversed_database(tmp_path: Path) -> Iterator[Database]:
    """A catalog whose SQLite returns the rows of unordered queries in reverse."""

    def reverse(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA reverse_unordered_selects=ON")

    event.listen(Engine, "connect", reverse)
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    initialize(database)
    yield database
    database.dispose()
    event.remove(Engine, "connect", reverse)


def test_find_videos__in_the_order_of_python_whatever_the_database_does(reversed_database: Database) -> None:
    database = reversed_database
    add_project(database, "bikes")
    keys = ["youtube-B", "youtube-_a", "youtube-a", "youtube-A", "youtube--b", "youtube-b", "youtubea-c"]
    for key in keys:
        add_video(database, key, "bikes")
    expected = ["youtube--b", "youtube-A", "youtube-B", "youtube-_a", "youtube-a", "youtube-b", "youtubea-c"]
    assert [video.key for video in find_videos(database)] == expected
    assert [video.key for video in find_videos(database, keys)] == expected
    assert [member.video_key for member in find_members(database, "bikes")] == expected
    assert [video.key for video in wanted_videos(database, "bikes")] == expected


def test_unwanted_videos__without_membership_or_rejected_by_all(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    add_video(database, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    add_video(database, "urls-c")
    assert [video.key for video in unwanted_videos(database)] == ["urls-b", "urls-c"]
    assert projects_wanting(database, ["urls-a", "urls-b", "urls-c"]) == {"urls-a": ("bikes", "trams")}


def test_is_due__date_ahead_reached_or_none() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not is_due(VideoRow(retry_after=None), now)
    assert not is_due(VideoRow(retry_after=now + timedelta(seconds=1)), now)
    assert is_due(VideoRow(retry_after=now), now)


def test_record_downloaded__needs_downloading_and_keeps_known_titles(database: Database) -> None:
    file = VideoFileRecord("video.mp4", 5_000_000_000, "a" * 64, 10.5, 640, 360)
    add_video(database, "urls-a", title="kept", error="old")
    with database.transaction() as session:
        assert not record_downloaded(session, "urls-a", file)
        assert move_video(session, "urls-a", VideoStatus.DOWNLOADING)
        assert record_downloaded(session, "urls-a", file)
    video = find_video(database, "urls-a")
    assert video is not None
    assert (video.status, video.title, video.size_bytes, video.sha256, video.error) == (
        VideoStatus.DOWNLOADED,
        "kept",
        5_000_000_000,
        "a" * 64,
        None,
    )


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


def test_retry_videos__of_internal_errors(database: Database) -> None:
    add_video(database, "urls-a", status=VideoStatus.DOWNLOADING)
    record_internal_error(database, "urls-a", "e", only_from=set(VideoStatus), stage=WorkStage.EXTRACTION)

    assert retry_videos(database, kinds={VideoErrorKind.INTERNAL_ERROR}) == ["urls-a"]
    assert keys_with_internal_errors(database, ["urls-a"]) == {"urls-a"}  # its error is still not news


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
