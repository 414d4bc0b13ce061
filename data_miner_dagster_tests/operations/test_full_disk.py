"""Work that fails because the disk is full is retried, and succeeds once there is space."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.full_disks import is_disk_full
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.storage.tables import write_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.operations.full_disks import fill, small_disk
from data_miner_dagster_tests.support.local_projects import add_project, make_platform
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.support.small_videos import make_video

ROOM_BYTES = 60_000
"""Enough for rows of the catalog, but not for a clip or frames."""


def leave_room(filler: Path) -> None:
    os.truncate(filler, filler.stat().st_size - ROOM_BYTES)


def test_local_file_and_frames__are_tried_again(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mp4", num_frames=50, size_wh=(1280, 720))
    assert clip.stat().st_size > 2 * ROOM_BYTES
    with small_disk(tmp_path / "disk", size_bytes=4_000_000) as disk:
        platform = make_platform(disk / "root", min_free_bytes=0)
        add_project(platform, [{"type": "files", "paths": [str(clip)]}])
        list_sources(platform, "p")
        (key,) = (video.key for video in find_videos(platform.database))
        filler = fill(disk)
        leave_room(filler)
        (outcome,) = download_videos(platform, [key])
        row = find_video(platform.database, key)
        assert row is not None
        assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.DISK_FULL)
        assert row.retry_after is not None
        assert row.attempts == 0
        filler.unlink()
        (outcome,) = download_videos(platform, [key], force=True)
        assert outcome.status is OutcomeStatus.DONE
        filler = fill(disk)
        leave_room(filler)
        (outcome,) = extract_frames(platform, [key])
        row = find_video(platform.database, key)
        assert row is not None
        assert (outcome.status, outcome.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.DISK_FULL)
        assert row.status is VideoStatus.FAILED
        assert row.retry_after is not None
        assert row.retry_after > utc_now()
        filler.unlink()
        (outcome,) = extract_frames(platform, [key], force=True)
        assert outcome.status is OutcomeStatus.DONE
        platform.database.dispose()


def test_release__is_made_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=6_000_000) as disk:
        platform = build_project(disk / "root")
        filler = fill(disk)
        leave_room(filler)
        with pytest.raises(Exception) as raised:
            release_project(platform, "cyclists")
        assert is_disk_full(raised.value)
        filler.unlink()
        assert release_project(platform, "cyclists").metadata["version"] == "v001"
        platform.database.dispose()


def test_tables_and_vectors__say_that_it_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=1_000_000) as disk:
        fill(disk)
        vectors = np.random.default_rng(1).normal(size=(2000, 64)).astype(np.float16)

        def write(name: str) -> None:
            if name == "table":
                write_table(disk / name, pa.table({"x": vectors[:, 0].astype(float)}), fingerprint="f")
            else:
                write_embeddings(disk / name, StoredEmbeddings(np.arange(2000, dtype=np.int32), vectors, "f"))

        for name in ("table", "vectors"):
            with pytest.raises(OSError) as raised:
                write(name)
            assert is_disk_full(raised.value)
        assert [path.name for path in disk.iterdir()] == ["filler"]
