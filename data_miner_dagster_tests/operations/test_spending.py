"""What the stages spend on real videos is recorded once, with the outcome, even for failed attempts."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from data_miner_dagster.catalog.measurements import spent_by_stage
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.operations.extraction.test_extract_frames import add_download
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.coloured_frames import BLUE, GREEN, RED, ColourPlatform, plant_video
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_noise, make_video


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "clip.mp4", num_frames=60, size_wh=(160, 120)).read_bytes()


def counts_of(platform: Platform, stage: WorkStage) -> tuple[int, ...]:
    spent = spent_by_stage(platform.database).get(stage, Measured())
    return spent.num_items, spent.num_failed, spent.num_requests, spent.bytes_received, spent.bytes_written


def test_download_and_extract__from_a_server(tmp_path: Path, server: HostileServer, clip: bytes) -> None:
    platform = make_platform(tmp_path / "root")
    urls = [server.add("/clip.mp4", hostile.whole_file(clip)), server.add("/gone.mp4", hostile.status(404))]
    add_project(platform, [{"type": "urls", "urls": urls}])
    list_sources(platform, "p", force=True)
    by_url = {video.url: video.key for video in find_videos(platform.database)}
    began = time.monotonic()
    outcomes = download_videos(platform, [by_url[url] for url in urls])
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.DONE, OutcomeStatus.UNAVAILABLE]
    spent = spent_by_stage(platform.database)[WorkStage.DOWNLOADING]
    assert (spent.num_items, spent.num_failed, spent.num_requests) == (2, 1, len(server.requests))
    assert spent.bytes_received == len(clip)
    assert spent.bytes_written == len(clip)
    assert 0 < spent.floor_seconds < spent.wall_seconds < 2 * (time.monotonic() - began)

    extract_frames(platform, [by_url[urls[0]]])
    made = spent_by_stage(platform.database)[WorkStage.EXTRACTION]
    row = next(video for video in find_videos(platform.database) if video.url == urls[0])
    assert (made.num_items, made.num_failed, made.num_frames) == (1, 0, row.num_frames)
    assert made.bytes_written == row.frames_bytes
    assert 0 < made.floor_seconds < made.wall_seconds
    assert made.cpu_seconds > 0

    before = spent_by_stage(platform.database)
    download_videos(platform, list(by_url.values()))
    extract_frames(platform, [by_url[urls[0]]])
    assert spent_by_stage(platform.database) == before  # nothing was done, so nothing was counted


def test_embed__batches_of_several_videos(tmp_path: Path) -> None:
    platform = ColourPlatform(tmp_path)
    plant_video(platform, "file-a", RED, GREEN, BLUE)
    plant_video(platform, "file-b", RED)
    began = time.monotonic()
    embed_frames(platform, ["file-a", "file-b"])
    took = time.monotonic() - began
    spent = spent_by_stage(platform.database)[WorkStage.EMBEDDING]
    files = [platform.layout.embedding_file("colour", key) for key in ("file-a", "file-b")]
    assert (spent.num_items, spent.num_failed, spent.num_frames) == (2, 0, 4)
    assert spent.bytes_written == sum(file.stat().st_size for file in files)
    assert 0 < spent.floor_seconds < spent.wall_seconds <= took  # in sequence, so no time counts twice


def tree_cpu_seconds() -> float:
    """Return the CPU seconds that the kernel counts for this process, its children and their finished children."""
    children: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # the thread has just ended
            children += map(int, (task / "children").read_text().split())
    of_children = 0
    for child in children:
        with suppress(OSError):  # the child has just ended
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            of_children += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: proc(5)
    return time.process_time() + of_children / os.sysconf("SC_CLK_TCK")


def test_extract__cpu_is_what_the_kernel_counts_of_all_processes(tmp_path: Path) -> None:
    """The two agree within a fifth, since the kernel also counts work for no video, such as starting a worker."""
    platform = ColourPlatform(tmp_path / "root")
    keys = ["file-a", "file-b"]
    for number, key in enumerate(keys):
        clip = make_noise(tmp_path / f"{key}.mp4", seed=number, num_frames=480, size_wh=(640, 360))
        add_download(platform, key, clip.read_bytes())
    extract_frames(platform, keys)  # so that everything is imported
    before, counted_before = spent_by_stage(platform.database)[WorkStage.EXTRACTION], tree_cpu_seconds()
    with creating_lasting_objects():  # collecting the garbage of other tests is not work on a video
        extract_frames(platform, keys, force=True)
        counted = tree_cpu_seconds() - counted_before
    spent = spent_by_stage(platform.database)[WorkStage.EXTRACTION]
    assert spent.num_items == 2 * before.num_items == 4
    measured = spent.cpu_seconds - before.cpu_seconds
    assert 0.8 * counted <= measured <= 1.05 * counted
    assert counted > 0.2  # enough to compare
