import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, StatementError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import add_candidates, find_members
from data_miner_dagster.catalog.migrations import initialise
from data_miner_dagster.catalog.projects import find_project, find_projects, save_snapshot
from data_miner_dagster.catalog.releases import add_release, find_releases, num_released_videos
from data_miner_dagster.catalog.schema import ReleaseRow, VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.upkeep import reset_orphans
from data_miner_dagster.catalog.videos import find_video, find_videos, is_due, record_downloaded, wanted_videos
from data_miner_dagster.domain.records import VideoCandidate, VideoFileRecord
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import FOUND_AT, add_project, add_video


def candidate(key: str, **columns: object) -> VideoCandidate:
    return VideoCandidate(key, f"https://example.org/{key}", "urls", "q", 0, FOUND_AT, **columns)  # type: ignore[arg-type]


def test_catalog__empty(database: Database) -> None:
    assert find_projects(database) == []
    assert find_project(database, "bikes") is None
    assert find_videos(database) == []
    assert find_videos(database, []) == []
    assert find_video(database, "urls-a") is None
    assert find_members(database, "bikes") == []
    assert find_releases(database, "bikes") == []
    assert reset_orphans(database) == []


def test_save_project__new_unchanged_changed(database: Database) -> None:
    assert save_snapshot(database, "bikes", {"name": "bikes"}, "one", "/a.yaml")
    assert not save_snapshot(database, "bikes", {"name": "bikes"}, "one", "/a.yaml")
    assert save_snapshot(database, "bikes", {"name": "bikes", "description": "d"}, "two", "/a.yaml")
    row = find_project(database, "bikes")
    assert row is not None
    assert row.config == {"name": "bikes", "description": "d"}
    assert row.stage is ProjectStage.SOURCING


def test_save_project__order_of_a_mapping_is_kept_and_changed(database: Database) -> None:
    save_snapshot(database, "bikes", {"classes": {"tram": 0, "bicycle": 0}}, "one", None)
    assert save_snapshot(database, "bikes", {"classes": {"bicycle": 0, "tram": 0}}, "two", None)
    row = find_project(database, "bikes")
    assert row is not None
    assert list(row.config["classes"]) == ["bicycle", "tram"]  # type: ignore[call-overload]


def test_add_candidate__first_provenance_stays_and_rejection_may_change(database: Database) -> None:
    add_project(database, "bikes")

    def add(rejected_because: str | None, **columns: object) -> bool:
        with database.transaction() as session:
            (is_new,) = add_candidates(session, "bikes", [(candidate("urls-a", **columns), rejected_because)])
        return is_new

    assert add("duration: too long", title="A ride", upload_date=date(2026, 1, 2))
    assert [(m.status, m.reason) for m in find_members(database, "bikes")] == [
        (ProjectVideoStatus.REJECTED, "duration: too long")
    ]
    assert find_videos(database, project="bikes") == []
    assert not add(None)
    assert [(m.status, m.reason, m.found_at) for m in find_members(database, "bikes")] == [
        (ProjectVideoStatus.PENDING, None, FOUND_AT)
    ]
    assert [(v.key, v.title, v.upload_date) for v in find_videos(database, project="bikes")] == [
        ("urls-a", "A ride", date(2026, 1, 2))
    ]


def test_add_candidate__project_must_exist(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        add_candidates(session, "nowhere", [(candidate("urls-a"), None)])
    assert find_videos(database) == []


def test_videos__many_keys_sorted_whatever_their_order(database: Database) -> None:
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
    """A catalog whose SQLite gives what is asked for in no order in reverse."""

    def reverse(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA reverse_unordered_selects=ON")

    event.listen(Engine, "connect", reverse)
    database = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    initialise(database)
    yield database
    database.dispose()
    event.remove(Engine, "connect", reverse)


def test_videos__in_the_order_of_python_whatever_the_database_does(reversed_database: Database) -> None:
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


def test_is_due__date_ahead_reached_or_none(database: Database) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert not is_due(VideoRow(retry_after=None), now)
    assert not is_due(VideoRow(retry_after=now + timedelta(seconds=1)), now)
    assert is_due(VideoRow(retry_after=now), now)


def test_utc_date_time__zone_survives_and_naive_is_refused(database: Database) -> None:
    from datetime import timezone

    zone = timezone(timedelta(hours=5))
    add_video(database, "urls-a", retry_after=datetime(2026, 1, 1, 5, tzinfo=zone))
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.retry_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert video.retry_after is not None
    assert video.retry_after.tzinfo is UTC
    with pytest.raises(StatementError, match="naive datetime"):
        add_video(database, "urls-b", retry_after=datetime(2026, 1, 1))


def test_add_release__same_version_twice_is_one(database: Database) -> None:
    for _ in range(2):
        with database.transaction() as session:
            add_release(
                session, ReleaseRow(project_name="bikes", version="v1", fingerprint="f", num_images=1, num_boxes=2)
            )
    assert [row.version for row in find_releases(database, "bikes")] == ["v1"]


def test_num_released_videos__of_the_latest_release(database: Database) -> None:
    assert num_released_videos(database, "bikes") == 0
    for version, num_videos in (("v1", 3), ("v2", 2)):
        with database.transaction() as session:
            add_release(
                session,
                ReleaseRow(
                    project_name="bikes",
                    version=version,
                    fingerprint="f",
                    num_videos=num_videos,
                    num_images=1,
                    num_boxes=2,
                ),
            )
    assert num_released_videos(database, "bikes") == 2
