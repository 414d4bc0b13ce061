"""A video kills the process that is working on it: real processes, a real SIGKILL."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_miner_dagster.catalog.batches import end_batch, open_batches
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster_tests.support.coloured_frames import BLUE, RED, ColourPlatform, plant_video

pytestmark = pytest.mark.slow(11)

KEYS = [f"file-{letter}" for letter in "abcdefgh"]


def test_deadly_video__is_found_by_halving_and_all_others_are_done(tmp_path: Path) -> None:
    platform = ColourPlatform(tmp_path / "root")
    for key in KEYS:
        plant_video(platform, key, RED if key == "file-b" else BLUE)
    sizes, num_deaths = [], 0
    for _ in range(10):
        worker = [sys.executable, "-m", "data_miner_dagster_tests.operations.deadly_worker", str(platform.root)]
        done = subprocess.run(worker, capture_output=True, text=True, timeout=300, check=False)
        sizes += [int(line) for line in done.stdout.split()]
        for batch in open_batches(platform.database):
            end_batch(platform.database, batch.id, "its run died", died=True)
            num_deaths += 1
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
    embedded = [key for key in KEYS if platform.layout.embedding_file("colour", key).exists()]
    assert embedded == [key for key in KEYS if key != "file-b"]
    # all; b, c and d; then b, c and d one by one; and then the others, none of which kills the process
    assert sizes == [8, 3, 1, 1, 1, 3, 1]
    assert num_deaths == 3
    row = find_video(platform.database, "file-b")
    assert row is not None
    assert (row.status, row.error) == (
        VideoStatus.FAILED,
        "the process died 3 times during embedding, the last time with no other item in the batch",
    )
    assert row.retry_after is not None
    assert len(find_videos(platform.database, statuses=[VideoStatus.EXTRACTED])) == 7
