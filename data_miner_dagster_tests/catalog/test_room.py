from datetime import timedelta
from typing import Any

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import take_out
from data_miner_dagster.catalog.room import (
    VideosRoom,
    count_removable_sources,
    lock_room,
    promise_room,
    record_frames_bytes,
    record_frames_removed,
    record_source_removed,
    removable_sources,
    removed_sources,
    unmeasured_frames,
    unwanted_frames,
    videos_room,
    wait_for_room,
    waiting_for_room,
)
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video


def of_file(size_bytes: int) -> dict[str, Any]:
    return {"size_bytes": size_bytes, "stored_bytes": size_bytes, "file_name": "video.mp4", "sha256": "0" * 64}


def test_videos_room__no_videos(database: Database) -> None:
    with database.reading() as session:
        assert videos_room(session) == VideosRoom(0, 0, 0, 0, 0, 0, None, None)
        assert (count_removable_sources(session), removable_sources(session)) == ((0, 0), [])


def test_videos_room__sums(database: Database) -> None:
    add_project(database, "p")
    add_video(database, "x-done", "p", status=VideoStatus.EXTRACTED, **of_file(1000), frames_bytes=100)
    add_video(
        database,
        "x-removed",
        "p",
        status=VideoStatus.EXTRACTED,
        **{**of_file(3000), "stored_bytes": None},
        frames_bytes=100,
    )
    add_video(database, "x-waits", "p", status=VideoStatus.DOWNLOADED, **of_file(500))
    add_video(database, "x-comes", "p", status=VideoStatus.DOWNLOADING, reserved_bytes=700)
    add_video(database, "x-other", "p", status=VideoStatus.DOWNLOADING, reserved_bytes=7)
    add_video(database, "x-stopped", "p", status=VideoStatus.PENDING, reserved_bytes=9000)  # its worker has died
    with database.transaction() as session:
        lock_room(database, session)
        found = videos_room(session, but_promised_to="x-other")
        promise_room(session, "x-other", 8)
    assert (found.sources, found.frames, found.promised, found.to_extract, found.num_to_extract) == (
        1500,
        200,
        700,
        500,
        1,
    )
    assert (found.typical_source, found.frames_per_byte) == (1500, 0.05)
    assert found.last_progress is not None
    with database.reading() as session:
        assert videos_room(session).promised == 708


def test_removable__what_has_frames_first_and_nothing_that_is_to_be_extracted(database: Database) -> None:
    add_project(database, "p")
    add_video(database, "x-given-up", "p", status=VideoStatus.FAILED, **of_file(1))
    add_video(database, "x-again", "p", status=VideoStatus.FAILED, **of_file(2), retry_after=utc_now())
    add_video(database, "x-waits", "p", status=VideoStatus.DOWNLOADED, **of_file(3))
    add_video(database, "x-unwanted", "p", status=VideoStatus.DOWNLOADED, **of_file(4))
    add_video(database, "x-done", "p", status=VideoStatus.EXTRACTED, **of_file(5), frames_bytes=6)
    take_out(database, "p", ["x-unwanted"])
    with database.reading() as session:
        assert removable_sources(session)[0].key == "x-done"
        assert {video.key for video in removable_sources(session)} == {
            "x-done",
            "x-given-up",
            "x-again",
            "x-unwanted",
        }
        assert count_removable_sources(session) == (4, 12)
        assert unwanted_frames(session) == []
        assert removed_sources(session) == []
    with database.transaction() as session:
        record_source_removed(session, "x-done")
        assert not record_frames_removed(session, "x-done")  # the video is still wanted
    with database.reading() as session:
        assert [(video.key, video.size_bytes) for video in removed_sources(session, ["x-done", "x-waits"], "p")] == [
            ("x-done", 5)
        ]
    take_out(database, "p", ["x-done"])
    with database.transaction() as session:
        assert [(video.key, video.size_bytes) for video in unwanted_frames(session)] == [("x-done", 6)]
        assert record_frames_removed(session, "x-done")
    row = find_video(database, "x-done")
    assert row is not None
    assert (row.status, row.frames_bytes, row.sha256) == (VideoStatus.DOWNLOADED, None, "0" * 64)


def test_unmeasured_frames__until_they_are(database: Database) -> None:
    add_project(database, "p")
    add_video(database, "x-done", "p", status=VideoStatus.EXTRACTED, **of_file(5))
    with database.transaction() as session:
        assert unmeasured_frames(session) == ["x-done"]
        record_frames_bytes(session, {"x-done": 6})
        assert unmeasured_frames(session) == []


def test_wait_for_room__pending_with_a_date_and_no_attempt(database: Database) -> None:
    add_project(database, "p")
    until = utc_now() + timedelta(seconds=1)
    add_video(database, "x-new", "p", status=VideoStatus.PENDING)
    add_video(database, "x-again", "p", status=VideoStatus.FAILED, attempts=2, error="no answer")
    add_video(database, "x-done", "p", status=VideoStatus.EXTRACTED, **of_file(5))
    with database.transaction() as session:
        for key in ("x-new", "x-again", "x-done"):
            wait_for_room(session, key, until, "waits for room", attempts=2)
    assert waiting_for_room(database, "p") == {"x-new", "x-again"}
    row, done = find_video(database, "x-again"), find_video(database, "x-done")
    assert row is not None
    assert (row.error_kind, row.error, row.attempts) == (VideoErrorKind.DISK_FULL, "waits for room", 2)
    assert row.retry_after == until
    assert done is not None
    assert done.status is VideoStatus.EXTRACTED
    with database.transaction() as session:
        move_video(session, "x-again", VideoStatus.DOWNLOADING)
    assert waiting_for_room(database, "p") == {"x-new"}
