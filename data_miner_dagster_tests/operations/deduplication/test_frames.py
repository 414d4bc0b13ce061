"""Test reading the pictures of chosen frames from the manifests of many videos."""

import string

import numpy as np
import pyarrow as pa
import pytest

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.operations.deduplication.frames import with_pictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import write_table
from data_miner_dagster_tests.support.sample_project import build_platform

_ALPHABET = np.array([*string.ascii_letters, *string.digits, "_", "-"])


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return an empty platform."""
    return build_platform(tmp_path_factory.mktemp("pictures"))


def _keys(rng: np.random.Generator, number: int) -> list[str]:
    return [f"youtube-{''.join(rng.choice(_ALPHABET, 11))}" for _ in range(number)]


def _write_manifest(platform: Platform, key: str, num_frames: int) -> None:
    # Each column that is read has values which identify the video and the frame.
    values = {
        "frame_id": [make_frame_id(key, index) for index in range(num_frames)],
        "sha256": [f"file of {key}, {index}" for index in range(num_frames)],
        "perceptual_hash": [int(fingerprint_of({"key": key, "index": index})[:16], 16) for index in range(num_frames)],
        "contrast": [float(index) for index in range(num_frames)],
        "pts_seconds": [float(index) / 2 for index in range(num_frames)],
        "sharpness": [float(index + 10) for index in range(num_frames)],
        "width": [index + 1 for index in range(num_frames)],
        "height": [100] * num_frames,
    }
    schema = pa.schema([FRAMES_SCHEMA.field(name) for name in values])
    path = platform.layout.frames_table(key)
    path.parent.mkdir(parents=True)
    write_table(path, pa.table(values, schema=schema), fingerprint="")


@pytest.mark.parametrize("num_videos", [0, 1, 6, 350])
def test_with_pictures__of_videos_with_random_keys(platform: Platform, num_videos: int) -> None:
    rng = np.random.default_rng(num_videos)
    frames = []
    for key in _keys(rng, num_videos):
        _write_manifest(platform, key, 3)
        frames += [(key, index) for index in range(3) if index != 1]
    rng.shuffle(frames)
    table = pa.table(
        {
            "frame_id": pa.array([make_frame_id(key, int(index)) for key, index in frames], pa.string()),
            "video_key": pa.array([key for key, _ in frames], pa.string()),
        }
    )
    rows = with_pictures(platform, table).to_pylist()
    by_id = sorted((make_frame_id(key, int(index)), key, int(index)) for key, index in frames)
    assert [(row["frame_id"], row["video_key"], row["sha256"]) for row in rows] == [
        (frame_id, key, f"file of {key}, {index}") for frame_id, key, index in by_id
    ]
    assert [row["perceptual_hash"] for row in rows] == [
        int(fingerprint_of({"key": key, "index": index})[:16], 16) for _, key, index in by_id
    ]
    columns = ("contrast", "pts_seconds", "sharpness", "num_pixels")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        (index, index / 2, index + 10, (index + 1) * 100) for _, _, index in by_id
    ]


def test_with_pictures__a_frame_that_is_gone(platform: Platform) -> None:
    _write_manifest(platform, "youtube-short", 2)
    table = pa.table({"frame_id": ["youtube-short/000001", "youtube-short/000002"], "video_key": ["youtube-short"] * 2})
    with pytest.raises(
        PermanentError, match=r"youtube-short/000002 is missing from frames\.parquet of youtube-short; run"
    ):
        with_pictures(platform, table)


def test_with_pictures__a_frame_named_twice(platform: Platform) -> None:
    _write_manifest(platform, "youtube-twice", 2)
    table = pa.table({"frame_id": ["youtube-twice/000001"] * 2, "video_key": ["youtube-twice"] * 2})
    with pytest.raises(PermanentError, match="youtube-twice/000001 occurs more than once"):
        with_pictures(platform, table)
