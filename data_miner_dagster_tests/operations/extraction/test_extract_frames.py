"""Test the claims, statuses and folders of frame extraction, with a real catalog and real clips."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, record_downloaded
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import OutOfDateError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord, VideoOutcome
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.local_files import key_of_frames, list_frames
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster.storage.tables import read_fingerprint, read_table, write_table
from data_miner_dagster_tests.support.barcode_clips import barcode_picture, make_clip
from data_miner_dagster_tests.support.catalog import add_project, add_video


def make_platform(root: Path, **settings: Any) -> Platform:
    return Platform(PlatformConfig(extraction=ExtractionConfig.model_validate(settings)), root)


def add_download(platform: Platform, key: str, content: bytes | None) -> None:
    """Put a video into the state after a download, or leave it not downloaded if `content` is None."""
    if find_project(platform.database, "p") is None:
        add_project(platform.database, "p")
    add_video(platform.database, key, "p")
    if content is None:
        return
    path = platform.layout.video_folder(key) / "video.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with platform.database.transaction() as session:
        move_video(session, key, VideoStatus.DOWNLOADING)
        record = VideoFileRecord("video.mp4", len(content), sha256_of_file(path), 2.0, 192, 128)
        record_downloaded(session, key, record)


def status_of(platform: Platform, key: str) -> VideoStatus:
    row = find_video(platform.database, key)
    assert row is not None
    return row.status


@pytest.fixture(scope="module")
def clip_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=60).read_bytes()


def test_extract_frames__no_videos(tmp_path: Path) -> None:
    assert extract_frames(make_platform(tmp_path), []) == []


def test_extract_frames__one_video(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    reported: list[VideoOutcome] = []
    [outcome] = extract_frames(platform, ["file-a"], report=reported.append)
    assert outcome.status is OutcomeStatus.DONE
    assert reported == [outcome]
    row = find_video(platform.database, "file-a")
    assert row is not None
    assert (row.status, row.num_frames, row.error) == (VideoStatus.EXTRACTED, 2, None)
    assert sorted(path.name for path in platform.layout.frames_folder("file-a").iterdir()) == [
        "000000.jpg",
        "000001.jpg",
        "frames.parquet",
    ]
    assert [entry.name for entry in platform.layout.frames.iterdir()] == ["file-a"]


def test_extract_frames__second_run_does_nothing(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    extract_frames(platform, ["file-a"])
    written_at = platform.layout.frames_table("file-a").stat().st_mtime_ns
    [outcome] = extract_frames(platform, ["file-a"])
    assert outcome.status is OutcomeStatus.REUSED
    assert outcome.metadata["num_frames"] == 2
    assert platform.layout.frames_table("file-a").stat().st_mtime_ns == written_at


def test_extract_frames__forced_run_gives_the_same_bytes(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    folder = platform.layout.frames_folder("file-a")
    extract_frames(platform, ["file-a"])
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    [outcome] = extract_frames(platform, ["file-a"], force=True)
    assert outcome.status is OutcomeStatus.DONE
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_extract_frames__forced_run_makes_a_column_that_an_earlier_version_did_not_have(
    tmp_path: Path, clip_bytes: bytes
) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    extract_frames(platform, ["file-a"])
    path = platform.layout.frames_table("file-a")
    contrasts = read_table(path)["contrast"].to_pylist()
    fingerprint = read_fingerprint(path)
    assert fingerprint is not None
    write_table(path, read_table(path).drop_columns(["contrast"]), fingerprint=fingerprint)
    with pytest.raises(OutOfDateError, match=r"frames of video file-a .*; run `data-miner backfill --asset frames "):
        read_frames(platform.layout, "file-a", ["contrast"])
    extract_frames(platform, ["file-a"], force=True)
    assert read_frames(platform.layout, "file-a", ["contrast"])["contrast"].to_pylist() == contrasts


def test_extract_frames__other_settings_replace_the_frames(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    extract_frames(platform, ["file-a"])
    [outcome] = extract_frames(make_platform(tmp_path, every_seconds=0.5), ["file-a"])
    assert outcome.status is OutcomeStatus.DONE
    assert len(list(platform.layout.frames_folder("file-a").glob("*.jpg"))) == 4


def test_extract_frames__limits_and_workers_change_nothing(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    extract_frames(platform, ["file-a"])
    other = make_platform(tmp_path, workers=1, limits={"max_seconds": 5.0})
    assert extract_frames(other, ["file-a"])[0].status is OutcomeStatus.REUSED


def test_extract_frames__same_bytes_with_one_worker_and_with_two(tmp_path: Path, clip_bytes: bytes) -> None:
    contents = []
    for workers in (1, 2):
        platform = make_platform(tmp_path / str(workers), workers=workers, every_seconds=0.5)
        for key in ("file-a", "file-b", "file-c"):
            add_download(platform, key, clip_bytes)
        extract_frames(platform, ["file-a", "file-b", "file-c"])
        root = platform.layout.frames
        contents.append({str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()})
    assert len(contents[0]) == 3 * (4 + 1)
    assert contents[0] == contents[1]


def test_extract_frames__one_bad_video_stops_no_other(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    add_download(platform, "file-b", b"<html>gone</html>")
    add_download(platform, "file-c", clip_bytes + b"\0")
    outcomes = extract_frames(platform, ["file-c", "file-b", "file-a", "file-z"])
    assert [(outcome.video_key, outcome.status) for outcome in outcomes] == [
        ("file-c", OutcomeStatus.DONE),
        ("file-b", OutcomeStatus.FAILED),
        ("file-a", OutcomeStatus.DONE),
        ("file-z", OutcomeStatus.BLOCKED),
    ]
    row = find_video(platform.database, "file-b")
    assert row is not None
    assert (row.status, row.error_kind, row.retry_after) == (VideoStatus.FAILED, VideoErrorKind.NOT_A_VIDEO, None)
    assert row.error is not None
    assert not platform.layout.frames_folder("file-b").exists()


def test_extract_frames__failed_is_not_tried_again_by_itself(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-b", b"<html>gone</html>")
    extract_frames(platform, ["file-b"])
    (platform.layout.video_folder("file-b") / "video.mp4").write_bytes(clip_bytes)
    assert extract_frames(platform, ["file-b"])[0].status is OutcomeStatus.FAILED
    with platform.database.transaction() as session:
        row = session.get_one(VideoRow, "file-b")
        row.retry_after = utc_now() - timedelta(seconds=1)
    assert extract_frames(platform, ["file-b"])[0].status is OutcomeStatus.DONE
    assert status_of(platform, "file-b") is VideoStatus.EXTRACTED


def test_extract_frames__not_downloaded(tmp_path: Path) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", None)
    [outcome] = extract_frames(platform, ["file-a"])
    assert outcome.status is OutcomeStatus.BLOCKED
    assert status_of(platform, "file-a") is VideoStatus.PENDING


def test_extract_frames__after_a_kill_between_folder_and_row(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    extract_frames(platform, ["file-a"])
    with platform.database.transaction() as session:
        move_video(session, "file-a", VideoStatus.EXTRACTING, num_frames=None)
    [outcome] = extract_frames(platform, ["file-a"])
    assert outcome.status is OutcomeStatus.REUSED
    row = find_video(platform.database, "file-a")
    assert row is not None
    assert (row.status, row.num_frames) == (VideoStatus.EXTRACTED, 2)


def test_extract_frames__after_a_kill_half_way(tmp_path: Path, clip_bytes: bytes) -> None:
    platform = make_platform(tmp_path)
    add_download(platform, "file-a", clip_bytes)
    with platform.database.transaction() as session:
        move_video(session, "file-a", VideoStatus.EXTRACTING)
    own = platform.layout.frames / ".partial-0123456789ab-file-a"
    of_another = platform.layout.frames / ".partial-0123456789ab-file-ab"
    for folder in (own, of_another):
        folder.mkdir(parents=True)
        (folder / "000000.jpg").write_bytes(b"half")
    assert extract_frames(platform, ["file-a"])[0].status is OutcomeStatus.DONE
    assert not own.exists()
    assert of_another.exists(), "another worker may be writing it"


def test_extract_frames__pictures_that_exist_already(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(barcode_picture(number, 64, 48)).save(folder / f"shot_{number}.png")
    (folder / "shot_3.jpg").write_bytes(b"no picture")
    platform = make_platform(tmp_path / "root")
    key, sha256 = key_of_frames(list_frames(folder))
    add_download(platform, key, None)
    with platform.database.transaction() as session:
        row = session.get_one(VideoRow, key)
        row.url, row.origin = str(folder), Origin.LOCAL
        move_video(session, key, VideoStatus.DOWNLOADING)
        record_downloaded(session, key, VideoFileRecord("", 1, sha256, 4.0, 0, 0))
    [outcome] = extract_frames(platform, [key])
    assert outcome.status is OutcomeStatus.DONE
    rows = read_table(platform.layout.frames_table(key)).to_pylist()
    assert [(row["file_name"], row["pts_seconds"]) for row in rows] == [
        ("000000.png", 0.0),
        ("000001.png", 1.0),
        ("000002.png", 3.0),  # the unreadable picture was frame 2
    ]
    stored = platform.layout.frames_folder(key) / "000002.png"
    assert stored.read_bytes() == (folder / "shot_10.png").read_bytes()
    assert outcome.metadata["num_unmet"] == 1
    assert extract_frames(platform, [key])[0].status is OutcomeStatus.REUSED
    (folder / "shot_1.png").unlink()
    [changed] = extract_frames(platform, [key], force=True)
    assert (changed.status, changed.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.MISSING_FILE)


def test_extract_frames__an_interrupt_waits_for_no_other_worker(tmp_path: Path, clip_bytes: bytes) -> None:
    """A cancelled run ends even if one of its threads is waiting for a video that another worker holds."""
    platform = make_platform(tmp_path)
    add_download(platform, "files-aaa", clip_bytes)

    def interrupt(_outcome: VideoOutcome) -> None:
        raise KeyboardInterrupt

    # A thread that waits would wait for an hour, which is longer than a test may take.
    with platform.hold_video("files-aaa"), pytest.raises(KeyboardInterrupt):
        extract_frames(platform, ["files-aaa", "files-unknown"], report=interrupt)
