"""Room under a root: downloads and extraction under a quota, what is removed for it, and what is asked for again."""

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.database import sqlite_url
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.extraction.extract_frames import extract_frames, refetch_price
from data_miner_dagster.operations.extraction.refetching import RefetchPrice
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.room import Room
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.upkeep.inspection import inspect_platform
from data_miner_dagster.storage.room import files_size
from data_miner_dagster_tests.end_to_end.commands import digests
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.local_projects import POLITENESS_OFF, add_project
from data_miner_dagster_tests.support.small_videos import make_noise

NUM_VIDEOS = 20


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_noise(folder / f"{number:02d}.mp4", seed=number) for number in range(NUM_VIDEOS)]


def platform_of(root: Path, room: dict[str, Any]) -> Platform:
    """Return a platform whose catalog, the log of which is larger than these videos, lies elsewhere."""
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
    """Download and extract in turns, as planners ask for it; return how many rounds it took."""
    for number in range(most_rounds):
        rows = find_videos(platform.database)
        if all(row.status is VideoStatus.EXTRACTED for row in rows):
            return number
        with platform.database.transaction() as session:
            for row in rows:  # their date has come
                session.merge(row).retry_after = None
        pending = [row.key for row in rows if row.status is VideoStatus.PENDING]
        for outcome in download_videos(platform, pending):
            assert outcome.status in (OutcomeStatus.DONE, OutcomeStatus.BLOCKED), outcome
        extract_frames(platform, [row.key for row in find_videos(platform.database, statuses={VideoStatus.DOWNLOADED})])
    raise AssertionError([(row.key, row.status, row.error) for row in find_videos(platform.database)])


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Measure a folder again and again while the block runs; the sizes come with the list."""
    sizes, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            sizes.append(files_size(folder))
            time.sleep(0.002)

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
    quota = sum(sizes) // 10
    sources = [*of_server(server, clips[::2]), *of_files(clips[1::2])]
    free = platform_of(tmp_path / "free", {})
    limited = platform_of(tmp_path / "limited", {"quota": quota})
    for platform in (free, limited):
        listed(platform, sources)
    settled(free)
    asked = server.count()
    with watched(limited.root) as measured:
        assert settled(limited) > 3  # it had to wait for extraction
    assert max(measured) <= quota + max(sizes)
    assert digests(limited.layout.frames) == digests(free.layout.frames)
    facts = [[(row.key, row.sha256, row.size_bytes) for row in find_videos(each.database)] for each in (free, limited)]
    assert facts[0] == facts[1]
    assert server.count() == asked * 2
    keys = [row.key for row in find_videos(limited.database)]
    assert {outcome.status for outcome in download_videos(limited, keys)} == {OutcomeStatus.REUSED}
    assert {outcome.status for outcome in extract_frames(limited, keys)} == {OutcomeStatus.REUSED}
    assert server.count() == asked * 2


def test_quota__with_local_files_that_are_linked(tmp_path: Path, clips: list[Path]) -> None:
    platform = platform_of(tmp_path / "root", {"quota": 1})
    platform.config.__dict__["downloading"] = platform.config.downloading.model_copy(update={"local_files": "hardlink"})
    [key] = listed(platform, of_files(clips[:1]))
    settled(platform)
    Room(platform).settle()
    assert source_of(platform, key).samefile(clips[0])  # nothing would be gained
    assert row_of(platform, key).stored_bytes == 0


@pytest.fixture
def one(tmp_path: Path, clips: list[Path], server: HostileServer) -> tuple[Platform, str]:
    """One video of a server, extracted, and its file removed at once."""
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
    assert "its site gives other bytes than before" in caplog.text
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
