"""Disk space of a root: work under a quota, what is removed to make room, and what is downloaded again."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.backups import copy_before_migration
from data_miner_dagster.catalog.database import sqlite_url
from data_miner_dagster.catalog.members import take_out
from data_miner_dagster.catalog.pending import is_project_settled
from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.catalog.room import waiting_for_room
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video, find_videos, record_downloaded
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, VideoFileRecord
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.export.manifest import CHECKSUMS_FILE, MANIFEST_FILE, write_manifest
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.extraction.extract_frames import extract_frames, refetch_price
from data_miner_dagster.operations.extraction.refetching import RefetchPrice
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.room import Room
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.upkeep.inspection import inspect_platform
from data_miner_dagster.storage.frames import has_frames
from data_miner_dagster.storage.room import files_size
from data_miner_dagster.storage.videos import VideoInfo, write_video_info
from data_miner_dagster_tests.end_to_end.commands import digests
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.coloured_shapes import jpeg_of
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.local_projects import POLITENESS_OFF, add_project
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.support.small_videos import make_noise

NUM_VIDEOS = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_noise(folder / f"{number:02d}.mp4", seed=number) for number in range(NUM_VIDEOS)]


def platform_of(root: Path, room: dict[str, Any]) -> Platform:
    """Return a platform with its catalog outside the root, since the catalog's log is larger than these videos."""
    content = {
        "room": room,
        "downloading": POLITENESS_OFF,
        "extraction": {"strategy": "uniform", "num_frames": 1, "workers": 2},
    }
    root.mkdir()
    url = sqlite_url(root.with_name(f"{root.name}.sqlite"))
    return Platform(PlatformConfig.model_validate(content), root, catalog_url=url.render_as_string())


def listed(platform: Platform, sources: Sequence[dict[str, Any]]) -> list[str]:
    add_project(platform, sources)
    list_sources(platform, "p", force=True)
    return [row.key for row in find_videos(platform.database)]


def of_files(clips: Sequence[Path]) -> list[dict[str, Any]]:
    return [{"type": "files", "paths": [str(path) for path in clips]}]


def of_server(server: HostileServer, clips: Sequence[Path]) -> list[dict[str, Any]]:
    urls = [server.add(f"/{path.name}", hostile.whole_file(path.read_bytes())) for path in clips]
    return [{"type": "urls", "urls": urls}]


def settled(platform: Platform, most_rounds: int = 60) -> int:
    """Download and extract in turns, as planners do, until all is extracted; return the number of rounds."""
    for number in range(most_rounds):
        rows = find_videos(platform.database)
        if all(row.status is VideoStatus.EXTRACTED for row in rows):
            return number
        with platform.database.transaction() as session:
            for row in rows:  # as if it were time to retry
                session.merge(row).retry_after = None
        pending = [row.key for row in rows if row.status is VideoStatus.PENDING]
        for outcome in download_videos(platform, pending):
            assert outcome.status in (OutcomeStatus.DONE, OutcomeStatus.BLOCKED), outcome
        extract_frames(platform, [row.key for row in find_videos(platform.database, statuses={VideoStatus.DOWNLOADED})])
    raise AssertionError([(row.key, row.status, row.error) for row in find_videos(platform.database)])


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Measure a folder repeatedly while the block runs, and append its sizes in bytes to the yielded list."""
    sizes, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            sizes.append(files_size(folder))
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        is_over.set()
        thread.join()


def row_of(platform: Platform, key: str) -> VideoRow:
    row = find_video(platform.database, key)
    assert row is not None
    return row


def source_of(platform: Platform, key: str) -> Path:
    return platform.layout.video_folder(key) / (row_of(platform, key).file_name or "")


def test_quota__takes_at_most_the_quota_and_one_video(tmp_path: Path, clips: list[Path], server: HostileServer) -> None:
    sizes = [path.stat().st_size for path in clips]
    quota = sum(sizes) // 6
    sources = [*of_server(server, clips[::2]), *of_files(clips[1::2])]
    free = platform_of(tmp_path / "free", {})
    limited = platform_of(tmp_path / "limited", {"quota": quota})
    for platform in (free, limited):
        listed(platform, sources)
    settled(free)
    asked = server.count()
    with watched(limited.root) as measured:
        assert settled(limited) > 3  # downloads had to wait for extraction
    assert max(measured) <= quota + max(sizes)
    assert digests(limited.layout.frames) == digests(free.layout.frames)
    facts = [[(row.key, row.sha256, row.size_bytes) for row in find_videos(each.database)] for each in (free, limited)]
    assert facts[0] == facts[1]
    assert server.count() == asked * 2
    keys = [row.key for row in find_videos(limited.database)]
    assert {outcome.status for outcome in download_videos(limited, keys)} == {OutcomeStatus.REUSED}
    assert {outcome.status for outcome in extract_frames(limited, keys)} == {OutcomeStatus.REUSED}
    assert server.count() == asked * 2


@pytest.fixture
def one(tmp_path: Path, clips: list[Path], server: HostileServer) -> tuple[Platform, str]:
    """Return a platform with one video from a server, whose file was removed after extraction, and the video's key."""
    platform = platform_of(tmp_path / "root", {"source_videos": "until_extracted"})
    [key] = listed(platform, of_server(server, clips[:1]))
    settled(platform)
    return platform, key


def test_until_extracted__the_catalog_knows_what_it_knew(one: tuple[Platform, str], clips: list[Path]) -> None:
    platform, key = one
    assert [path.name for path in platform.layout.video_folder(key).iterdir()] == ["info.json"]
    row = row_of(platform, key)
    assert (row.status, row.size_bytes, row.stored_bytes) == (VideoStatus.EXTRACTED, clips[0].stat().st_size, None)
    assert row.sha256 == sha256_of_file(clips[0])
    assert inspect_platform(platform) == []
    assert refetch_price(platform) == RefetchPrice(0, 0)
    assert [outcome.status for outcome in download_videos(platform, [key])] == [OutcomeStatus.REUSED]


def test_extract_frames__asks_again_for_a_file_that_was_removed(
    one: tuple[Platform, str], server: HostileServer, clips: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    platform, key = one
    frames, asked = digests(platform.layout.frames), server.count()
    shutil.rmtree(platform.layout.frames_folder(key))
    price = refetch_price(platform, project="p")
    assert price == RefetchPrice(1, clips[0].stat().st_size)
    with caplog.at_level("INFO"):
        [outcome] = extract_frames(platform, [key])
    assert outcome.status is OutcomeStatus.DONE
    assert str(price) in caplog.text
    assert server.count() == asked + 1
    assert digests(platform.layout.frames) == frames
    assert not source_of(platform, key).exists()


def test_extract_frames__forced_where_the_site_gives_other_bytes(
    one: tuple[Platform, str], server: HostileServer, clips: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    platform, key = one
    frames = digests(platform.layout.frames)
    server.add(f"/{clips[0].name}", hostile.whole_file(clips[1].read_bytes()))
    assert refetch_price(platform, with_current=True).num_videos == 1
    [outcome] = extract_frames(platform, [key], force=True)
    assert outcome.status is OutcomeStatus.DONE
    assert row_of(platform, key).sha256 == sha256_of_file(clips[1])
    assert "its source delivers different bytes than before" in caplog.text
    assert digests(platform.layout.frames) != frames


def test_extract_frames__forced_where_the_site_has_the_video_no_more(
    one: tuple[Platform, str], server: HostileServer, clips: list[Path]
) -> None:
    platform, key = one
    frames = digests(platform.layout.frames)
    server.add(f"/{clips[0].name}", hostile.status(404))
    [outcome] = extract_frames(platform, [key], force=True)
    assert outcome.status is OutcomeStatus.BLOCKED
    assert "404" in outcome.message
    row = row_of(platform, key)
    assert (row.status, row.num_frames) == (VideoStatus.EXTRACTED, 1)
    assert digests(platform.layout.frames) == frames


def extracted(root: Path, clips: Sequence[Path], **room: Any) -> tuple[Platform, list[str]]:
    """Return a platform with these clips as extracted local videos, and their keys in the order of `clips`."""
    platform = platform_of(root, {"quota": "1GB", **room})
    listed(platform, of_files(clips))
    keys = [f"file-{path.stem}.{sha256_of_file(path)[:16]}" for path in clips]
    for key, clip in zip(keys, clips, strict=True):
        folder = platform.layout.video_folder(key)
        folder.mkdir(parents=True)
        shutil.copy(clip, folder / "video.mp4")
        file = VideoFileRecord("video.mp4", clip.stat().st_size, sha256_of_file(clip), 2.0, 160, 120)
        write_video_info(platform.layout, VideoInfo(key, file, None, "file"))
        write_pictures(platform.layout, key, [jpeg_of([])], fingerprint="f")
        frames_bytes = files_size(platform.layout.frames_folder(key))
        with platform.database.transaction() as session:
            move_video(session, key, VideoStatus.DOWNLOADING)
            record_downloaded(session, key, file)
            move_video(session, key, VideoStatus.EXTRACTING)
            move_video(session, key, VideoStatus.EXTRACTED, num_frames=1, frames_bytes=frames_bytes)
    return platform, keys


def test_free__in_order_and_no_more_than_is_needed(tmp_path: Path, clips: list[Path]) -> None:
    platform, keys = extracted(tmp_path / "root", clips[:3])
    by_age = sorted(keys, key=lambda key: row_of(platform, key).updated_at)
    assert Room(platform).free(1) == row_of(platform, by_age[0]).size_bytes
    assert [source_of(platform, key).exists() for key in by_age] == [False, True, True]


def test_free__the_copy_of_a_local_file_that_is_gone_stays(tmp_path: Path, clips: list[Path]) -> None:
    mine = shutil.copy(clips[0], tmp_path / "mine.mp4")
    platform, [key] = extracted(tmp_path / "root", [Path(mine)])
    Path(mine).unlink()
    assert Room(platform).free(1) == 0
    assert source_of(platform, key).exists()


def test_free__the_copy_of_a_local_file_that_is_a_link_to_it_stays(tmp_path: Path, clips: list[Path]) -> None:
    platform, [key] = extracted(tmp_path / "root", clips[:1])
    source_of(platform, key).unlink()
    source_of(platform, key).hardlink_to(clips[0])
    assert Room(platform).free(1) == 0  # removing a hard link frees no space
    assert source_of(platform, key).exists()
    assert row_of(platform, key).stored_bytes == 0


def test_free__nothing_that_is_always_to_be_kept(tmp_path: Path, clips: list[Path]) -> None:
    platform, _ = extracted(tmp_path / "root", clips[:1], source_videos="always")
    assert Room(platform).free(1) == 0


def plant_release(folder: Path, video_key: str) -> None:
    """Write only those parts of a release that state which video it shows."""
    folder.mkdir(parents=True)
    (folder / CHECKSUMS_FILE).touch()
    content: dict[str, Any] = {name: {} for name in ("images_by_split", "boxes_by_class", "thresholds")}
    content |= dict.fromkeys(("project", "version", "fingerprint", "description"), "")
    content |= dict.fromkeys(("num_videos", "num_images", "num_images_without_boxes", "num_boxes"), 0)
    content |= {"classes": [], "models": [], "funnel": [], "prompts": {"positive": []}, "duplicates": {"threshold": 1}}
    write_manifest(folder, {**content, "splits": {"shares": {}, "by_video": {video_key: "train"}}}, num_files=0)


def test_free__frames_that_nobody_needs(tmp_path: Path, clips: list[Path]) -> None:
    """Of four videos, the project, a release and a copy of the catalog need one each, and nothing needs the last."""
    platform, keys = extracted(tmp_path / "root", clips[:4], source_videos="always", caches="always")
    wanted, released, in_a_copy, needed_by_none = keys
    take_out(platform.database, "p", [released, needed_by_none])
    assert platform.database.file is not None
    copy_before_migration(platform.database.file, "0009")
    take_out(platform.database, "p", [in_a_copy])
    release = platform.layout.release_folder("old", "v001")
    plant_release(release, released)
    size_bytes = row_of(platform, needed_by_none).frames_bytes
    assert size_bytes == files_size(platform.layout.frames_folder(needed_by_none))
    manifest = (release / MANIFEST_FILE).read_bytes()
    (release / MANIFEST_FILE).write_bytes(b"{}")
    assert Room(platform).free(1 << 30) == 0  # the videos that the release shows are unknown
    (release / MANIFEST_FILE).write_bytes(manifest)
    assert Room(platform).free(1 << 30) == size_bytes
    assert [has_frames(platform.layout, key) for key in (wanted, released, in_a_copy)] == [True] * 3
    assert not platform.layout.frames_folder(needed_by_none).exists()
    row = row_of(platform, needed_by_none)
    assert (row.status, row.num_frames, row.frames_bytes) == (VideoStatus.DOWNLOADED, None, None)
    assert inspect_platform(platform) == []


def test_free__embeddings_that_nobody_needs(tmp_path: Path, clips: list[Path]) -> None:
    platform, [wanted, unwanted] = extracted(tmp_path / "root", clips[:2], source_videos="always")
    take_out(platform.database, "p", [unwanted])
    in_use = platform.models.filter_encoder.name
    files = [platform.layout.embedding_file(*pair) for pair in ((in_use, wanted), (in_use, unwanted), ("old", wanted))]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345")
    frames_bytes = row_of(platform, unwanted).frames_bytes or 0
    assert Room(platform).free(1 << 30) == frames_bytes + 10
    assert [file.exists() for file in files] == [True, False, False]


@pytest.mark.parametrize("is_diverse", [True, False])
def test_removable_caches__of_the_encoder_that_only_a_selection_uses(tmp_path: Path, *, is_diverse: bool) -> None:
    releasing = {"select": {"count": 2, "diverse": is_diverse}}
    platform = build_project(tmp_path / "root", deduplication={"encoder": "filter"}, releasing=releasing)
    encoder = platform.models.dedup_encoder.name
    file = platform.layout.embedding_file(encoder, "files-aaa")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"12345")
    assert [cache.name for cache in Room(platform).removable_caches()] == ([] if is_diverse else [encoder])
    update_project(platform.database, "cyclists", config={"name": "cyclists", "filtering": "of another version"})
    assert list(Room(platform).removable_caches()) == []  # the project may use the encoder


def test_quota__less_than_what_must_stay(tmp_path: Path, clips: list[Path]) -> None:
    """By default, one video at a time is processed. With `wait`, none is: it is retried later, without charge."""
    going_on = platform_of(tmp_path / "going_on", {"quota": 1})
    listed(going_on, of_files(clips[:2]))
    with watched(going_on.layout.videos) as measured:
        settled(going_on)
    sizes = sorted(path.stat().st_size for path in clips[:2])
    assert max(measured) < sizes[0] + sizes[1]
    waiting = platform_of(tmp_path / "waiting", {"quota": 1, "over_quota": "wait"})
    [key] = listed(waiting, of_files(clips[:1]))
    [outcome] = download_videos(waiting, [key])
    assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.DISK_FULL)
    assert "of the quota of 1 B is in use or reserved, and none of it may be removed automatically" in outcome.message
    row = row_of(waiting, key)
    assert (row.status, row.attempts) == (VideoStatus.FAILED, 0)
    assert row.retry_after is not None


def test_quota__a_video_that_waits_is_pending_with_a_date(tmp_path: Path, clips: list[Path]) -> None:
    platform = platform_of(tmp_path / "root", {"quota": clips[0].stat().st_size})
    keys = listed(platform, of_files(clips[:3]))
    outcomes = download_videos(platform, keys)
    assert sorted(outcome.status for outcome in outcomes) == ["blocked", "blocked", "done"]
    [blocked, _] = [outcome for outcome in outcomes if outcome.status is OutcomeStatus.BLOCKED]
    row = row_of(platform, blocked.video_key)
    assert (row.status, row.error_kind, row.attempts) == (VideoStatus.PENDING, VideoErrorKind.DISK_FULL, 0)
    assert row.retry_after is not None
    waiting = {outcome.video_key for outcome in outcomes if not outcome.status.exists}
    assert waiting_for_room(platform.database, "p") == waiting
    before_it_is_due = utc_now() - timedelta(minutes=1)
    with platform.database.reading() as session:
        assert not is_project_settled(session, "p", before_it_is_due)
