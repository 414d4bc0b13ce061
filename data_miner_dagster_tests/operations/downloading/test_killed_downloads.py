"""Test SIGKILL in the middle of 30 downloads, on both databases: finished videos are not requested again."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.storage.videos import read_video_info
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import Answer, Exchange
from data_miner_dagster_tests.support.catalog import place_catalog
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.small_videos import make_video
from data_miner_dagster_tests.support.waiting import wait_until

NUM_VIDEOS, NUM_SERVED = 30, 20
"""How many videos there are, and how many are served in full before the kill, which interrupts some of the others."""


def half_until(is_killed: threading.Event, clip: bytes) -> Answer:
    """Return an answer that sends half of a clip and then waits, or all of the clip once `is_killed` is set."""

    def answer(exchange: Exchange) -> None:
        if is_killed.is_set():
            hostile.whole_file(clip)(exchange)
            return
        exchange.start(200, len(clip))
        exchange.body(clip[: len(clip) // 2])
        while not is_killed.is_set() and not exchange.server.stopping.wait(0.02):
            pass

    return answer


def is_any_alive(group: int) -> bool:
    """Return whether any process of a group is alive. Zombies do not count as alive."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, of_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in ("Z", "X"):
                return True
    return False


@pytest.mark.slow
def test_kill__in_the_middle_and_again(tmp_path: Path, catalog_url: str) -> None:
    clip = make_video(tmp_path / "clip.mp4", num_frames=40, size_wh=(320, 240)).read_bytes()
    root = tmp_path / "root"
    place_catalog(root, catalog_url)
    with hostile.hostile_server() as server:
        is_killed = threading.Event()
        urls = [
            server.add(f"/{n:02d}.mp4", half_until(is_killed, clip) if n >= NUM_SERVED else hostile.whole_file(clip))
            for n in range(NUM_VIDEOS)
        ]
        platform = make_platform(root)
        add_project(platform, [{"type": "urls", "urls": urls}])
        list_sources(platform, "p")
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        command = [sys.executable, "-m", "data_miner_dagster_tests.operations.downloading.download_worker", str(root)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        ) as worker:
            assert worker.stdout is not None
            for _ in range(NUM_SERVED):
                assert worker.stdout.readline().endswith(" done\n")
            wait_until(lambda: any(part.stat().st_size for part in root.glob("videos/*/.partial-*/*.part")))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        # the processes that downloaded for the worker end a moment later
        wait_until(lambda: not is_any_alive(worker.pid))
        is_killed.set()

        assert platform.database.is_postgresql is catalog_url.startswith("postgresql")
        rows = {row.key: row for row in find_videos(platform.database)}
        finished = {key for key in rows if read_video_info(platform.layout, key) is not None}
        assert len(finished) == NUM_SERVED
        half_done = {part.parent.parent.name: part.stat().st_size for part in root.glob("videos/*/.partial-*/*.part")}
        assert any(half_done.values())
        assert half_done.keys().isdisjoint(finished)

        asked = len(server.requests)
        outcomes = {outcome.video_key: outcome.status.value for outcome in download_videos(platform, sorted(rows))}
        assert {key for key, status in outcomes.items() if status == "reused"} == finished
        assert {status for key, status in outcomes.items() if key not in finished} == {"done"}

        again = server.requests[asked:]
        path_of = {row.key: row.url.removeprefix(server.url("")) for row in rows.values()}
        assert {request.path for request in again}.isdisjoint({path_of[key] for key in finished})
        for key, size in half_done.items():  # the download continues where it was cut off
            starts = [r.range_start for r in again if r.path == path_of[key] and r.range_start is not None]
            if 0 < size < len(clip):  # for an empty or a complete part, there is no range to request
                assert starts == [size]
        assert {row.status for row in find_videos(platform.database)} == {VideoStatus.DOWNLOADED}
        assert {row.sha256 for row in find_videos(platform.database)} == {rows_sha(platform.layout.videos)}


def rows_sha(videos: Path) -> str:
    """Return the sha256 that all video files share, since every resumed file has the bytes of the clip."""
    import hashlib

    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in videos.glob("*/video.mp4")}
    assert len(digests) == 1
    return digests.pop()
