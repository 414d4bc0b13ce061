"""Test the second encoder: the vectors of requested frames are computed if they are missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.keys import frame_file_name
from data_miner_dagster.domain.records import Float32Array, OutcomeStatus
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.embedding.some_frames import ensure_embeddings, load_vectors
from data_miner_dagster_tests.support.coloured_frames import (
    BLUE,
    GREEN,
    RED,
    ColourPlatform,
    plant_frames,
    plant_video,
    statuses_of,
)


@pytest.fixture
def platform(tmp_path: Path) -> ColourPlatform:
    return ColourPlatform(tmp_path)


def ensure(platform: ColourPlatform, frames: Mapping[str, Sequence[int]]) -> None:
    ensure_embeddings(platform, platform.models.dedup_encoder, frames)


def load(platform: ColourPlatform, video_key: str, frame_indices: Sequence[int]) -> Float32Array:
    return load_vectors(platform, platform.models.dedup_encoder, video_key, frame_indices)


def test_ensure_embeddings__nothing_asked(platform: ColourPlatform) -> None:
    ensure(platform, {})
    assert platform.planted.loads == []


def test_ensure_embeddings__only_the_frames_named_then_only_what_is_missing(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED, GREEN, BLUE)
    encoder = platform.dedup_encoder
    ensure(platform, {"file-a": [2, 0]})
    assert encoder.batch_sizes == [2]
    np.testing.assert_allclose(load(platform, "file-a", [2, 0]), np.eye(3)[[2, 0]], atol=0.02)
    ensure(platform, {"file-a": [0, 1]})
    assert encoder.batch_sizes == [2, 1]
    platform.planted.loads.clear()
    ensure(platform, {"file-a": [0, 1, 2]})
    assert platform.planted.loads == []
    vectors = load(platform, "file-a", [1, 1, 0])
    np.testing.assert_allclose(vectors, np.eye(3)[[1, 1, 0]], atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_ensure_embeddings__a_file_of_some_frames_is_not_taken_for_all_of_them(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED, GREEN)
    platform.planted.planted_dedup = platform.encoder
    ensure(platform, {"file-a": [0]})
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    ensure(platform, {"file-a": [0, 1]})
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.REUSED)]


def test_ensure_embeddings__stale_vectors_are_made_anew(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    ensure(platform, {"file-a": [0]})
    plant_frames(platform, "file-a", [BLUE], fingerprint="frames-2")
    with pytest.raises(PermanentError, match="has no current embeddings"):
        load(platform, "file-a", [0])
    ensure(platform, {"file-a": [0]})
    np.testing.assert_allclose(load(platform, "file-a", [0]), np.eye(3)[[2]], atol=0.02)


def test_ensure_embeddings__unknown_frame_missing_frames_and_damaged_image(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    with pytest.raises(PermanentError, match="frame file-a/000007 does not exist"):
        ensure(platform, {"file-a": [0, 7]})
    with pytest.raises(PermanentError, match="frames of file-b are missing"):
        ensure(platform, {"file-b": [0]})
    platform.layout.frame_path("file-a", frame_file_name(0)).write_bytes(b"no picture")
    with pytest.raises(PermanentError, match=r"000000\.jpg"):
        ensure(platform, {"file-a": [0]})


def test_load_vectors__not_made(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED, GREEN)
    with pytest.raises(PermanentError, match="has no current embeddings from tone"):
        load(platform, "file-a", [0])
    ensure(platform, {"file-a": [0]})
    with pytest.raises(PermanentError, match=r"frame 1 is missing from .*file-a from tone; run `data-miner backfill"):
        load(platform, "file-a", [1])
    assert load(platform, "file-a", []).shape == (0, 3)
