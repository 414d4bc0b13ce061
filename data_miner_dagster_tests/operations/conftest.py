"""The hostile server on which operations are tested, and a clip for it to serve."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.small_videos import make_video


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


@pytest.fixture
def clip(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "clip.mp4", num_frames=5).read_bytes()
