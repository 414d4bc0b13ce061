"""Test embedding every frame of a video, with real JPEGs and files and an encoder whose vectors are known."""

import errno
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.catalog.attempts import count_failures
from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.config.embedding import EmbeddingConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.keys import frame_file_name
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import (
    Float32Array,
    OutcomeStatus,
    RgbImage,
)
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.media.foreign_pictures import see_picture
from data_miner_dagster.media.images import read_stored_image_reduced
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.storage.vectors import read_embeddings
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.coloured_frames import (
    BLUE,
    GREEN,
    RED,
    ColourEncoder,
    ColourPlatform,
    plant_frames,
    plant_video,
    statuses_of,
)
from data_miner_dagster_tests.support.tiny_networks import save_tiny, tiny_config


@pytest.fixture
def platform(tmp_path: Path) -> ColourPlatform:
    return ColourPlatform(tmp_path)


def test_embed_frames__no_videos(platform: ColourPlatform) -> None:
    assert embed_frames(platform, []) == []
    assert platform.planted.loads == []


def test_embed_frames__a_vector_for_each_frame(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED, GREEN, BLUE)
    (outcome,) = embed_frames(platform, ["file-a"])
    assert outcome.status is OutcomeStatus.DONE
    assert dict(outcome.metadata) == {"encoder": "colour", "num_frames": 3, "num_embedded": 3, "num_unreadable": 0}
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.fingerprint == embeddings_fingerprint_of("frames-1", "colour-1")
    assert stored.frame_indices.tolist() == [0, 1, 2]
    assert stored.vectors.dtype == np.float16
    np.testing.assert_allclose(stored.vectors, np.eye(3), atol=0.02)  # JPEG changes colours slightly


def test_embed_frames__second_call_does_nothing_and_loads_nothing(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    embed_frames(platform, ["file-a"])
    path = platform.layout.embedding_file("colour", "file-a")
    written = path.stat().st_mtime_ns
    platform.planted.loads.clear()
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.REUSED)]
    assert (platform.planted.loads, path.stat().st_mtime_ns) == ([], written)
    assert statuses_of(embed_frames(platform, ["file-a"], force=True)) == [("file-a", OutcomeStatus.DONE)]


def test_embed_frames__new_frames_or_encoder_make_it_stale(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    embed_frames(platform, ["file-a"])
    plant_frames(platform, "file-a", [GREEN, BLUE], fingerprint="frames-2")
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    platform.encoder.fingerprint = "colour-2"
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.fingerprint == embeddings_fingerprint_of("frames-2", "colour-2")


def test_embed_frames__a_batch_is_of_one_video_and_outcomes_keep_the_order_asked(platform: ColourPlatform) -> None:
    for key in ("file-c", "file-a", "file-b"):
        plant_video(platform, key, RED, GREEN)
    reported: list[str] = []
    outcomes = embed_frames(
        platform, ["file-c", "file-a", "file-b"], report=lambda done: reported.append(done.video_key)
    )
    assert statuses_of(outcomes) == [(key, OutcomeStatus.DONE) for key in ("file-c", "file-a", "file-b")]
    assert platform.encoder.batch_sizes == [2, 2, 2]
    assert reported == ["file-a", "file-b", "file-c"]


def test_embed_frames__is_reported_before_the_next_videos_are_done(platform: ColourPlatform) -> None:
    for key in ("file-a", "file-b", "file-c"):
        plant_video(platform, key, *[RED] * 20)
    files_at_report: list[int] = []
    folder = platform.layout.embeddings / "colour"
    embed_frames(
        platform,
        ["file-a", "file-b", "file-c"],
        report=lambda _: files_at_report.append(len(list(folder.glob("*.npz")))),
    )
    assert files_at_report == [1, 2, 3]


def test_embed_frames__same_key_twice_is_worked_on_once(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    assert statuses_of(embed_frames(platform, ["file-a", "file-a"])) == [("file-a", OutcomeStatus.DONE)] * 2
    assert platform.encoder.batch_sizes == [1]


def test_embed_frames__video_without_frames_gets_an_empty_file(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a")
    assert statuses_of(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.vectors.shape == (0, 3)


def test_embed_frames__not_extracted_failed_and_unknown_videos_hold_up_nobody(platform: ColourPlatform) -> None:
    add_project(platform.database, "pets")
    add_video(platform.database, "file-a", "pets", status=VideoStatus.DOWNLOADED)
    add_video(platform.database, "file-b", "pets", status=VideoStatus.EXTRACTED)  # its files are missing
    add_video(platform.database, "file-c", "pets", status=VideoStatus.FAILED)
    plant_video(platform, "file-e", RED)
    outcomes = embed_frames(platform, ["file-a", "file-b", "file-c", "file-d", "file-e"])
    assert [outcome.status.value for outcome in outcomes] == ["blocked", "blocked", "failed", "blocked", "done"]
    assert outcomes[0].message == "the frames of file-a have not been extracted yet (the video is DOWNLOADED)"
    assert outcomes[1].message == "the frames of file-b are missing, and will be extracted again"


def test_embed_frames__damaged_image_is_left_out_and_counted(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED, GREEN, BLUE)
    path = platform.layout.frame_path("file-a", frame_file_name(1))
    path.write_bytes(path.read_bytes()[:-40])
    (outcome,) = embed_frames(platform, ["file-a"])
    assert (outcome.status, outcome.metadata["num_unreadable"]) == (OutcomeStatus.DONE, 1)
    assert "000001.jpg" in outcome.message
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.frame_indices.tolist() == [0, 2]


def test_embed_frames__no_readable_image_at_all_fails_the_video_alone(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    plant_video(platform, "file-b", RED)
    platform.layout.frame_path("file-a", frame_file_name(0)).unlink()
    failed, done = embed_frames(platform, ["file-a", "file-b"])
    assert (failed.status, failed.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.UNDECODABLE)
    assert done.status is OutcomeStatus.DONE
    assert not platform.layout.embedding_file("colour", "file-a").exists()
    assert not platform.layout.frames_table("file-a").exists()  # so that the frames are extracted again
    (count,) = count_failures(platform.database)
    assert (count.stage, count.kind, count.num_items) == (WorkStage.EMBEDDING, "undecodable", 1)
    row = find_video(platform.database, "file-a")
    assert row is not None
    assert (row.status, row.error) == (VideoStatus.FAILED, failed.message)
    assert row.retry_after == count.next_due is not None
    plant_video(platform, "file-a", RED)
    with platform.database.transaction() as session:  # the frames have been extracted again
        for status in (VideoStatus.EXTRACTING, VideoStatus.EXTRACTED):
            move_video(session, "file-a", status)
    assert embed_frames(platform, ["file-a"])[0].status is OutcomeStatus.DONE
    assert count_failures(platform.database) == []


def test_embed_frames__a_disk_that_cannot_be_read_for_the_moment_leaves_out_no_frame(
    platform: ColourPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("file-a", "file-b"):
        plant_video(platform, key, RED, GREEN)

    def read(path: Path, sha256: str, min_side: int) -> RgbImage:
        if "file-a" in str(path) and path.name == frame_file_name(1, "jpg"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read_stored_image_reduced(path, sha256, min_side)

    with monkeypatch.context() as patched:
        patched.setattr("data_miner_dagster.operations.foreign.stored_pictures.read_stored_image_reduced", read)
        failed, done = embed_frames(platform, ["file-a", "file-b"])
    assert (failed.status, failed.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.TRANSIENT)
    assert done.status is OutcomeStatus.DONE
    row = find_video(platform.database, "file-a")
    assert row is not None
    assert row.retry_after is not None  # the video is retried automatically
    assert not platform.layout.embedding_file("colour", "file-a").exists()


def test_embed_frames__frames_that_are_gone_are_extracted_again(platform: ColourPlatform) -> None:
    plant_video(platform, "file-a", RED)
    platform.layout.frames_table("file-a").unlink()
    assert embed_frames(platform, ["file-a"])[0].status is OutcomeStatus.BLOCKED
    row = find_video(platform.database, "file-a")
    assert row is not None
    assert row.status is VideoStatus.DOWNLOADED


def test_embed_frames__two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name, batch_size in (("one", 2), ("two", 5)):
        platform = ColourPlatform(tmp_path / name, batch_size)
        plant_video(platform, "file-a", RED, GREEN, BLUE, RED)
        embed_frames(platform, ["file-a"])
        contents.append(platform.layout.embedding_file("colour", "file-a").read_bytes())
    assert contents[0] == contents[1]


def test_embed_frames__a_broken_run_frees_its_claims_and_the_next_takes_up(
    platform: ColourPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("file-a", "file-b", "file-c"):
        plant_video(platform, key, *[RED] * 4)
    encoder = platform.encoder

    def breaks(batch: npt.NDArray[Any]) -> Float32Array:
        if encoder.batch_sizes:
            raise RuntimeError("the device fell off the bus")
        return ColourEncoder.embed_batch(encoder, batch)

    with monkeypatch.context() as patched:
        patched.setattr(encoder, "embed_batch", breaks)
        with pytest.raises(RuntimeError, match="fell off"):
            embed_frames(platform, ["file-a", "file-b", "file-c"])
    for key in ("file-a", "file-b", "file-c"):
        with hold_claim(platform.database, f"video/{key}", wait_seconds=0):
            pass
    statuses = [outcome.status.value for outcome in embed_frames(platform, ["file-a", "file-b", "file-c"])]
    assert statuses == ["reused", "done", "done"]


def test_embed_frames__a_fault_of_some_frames_leaves_them_out_of_all_frames_fails_that_video(
    platform: ColourPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("file-a", "file-b", "file-c"):
        plant_video(platform, key, RED, GREEN)

    def read(path: Path, sha256: str, min_side: int) -> RgbImage:
        if "file-b" in str(path) or ("file-c" in str(path) and path.name == frame_file_name(1, "jpg")):
            raise ZeroDivisionError("planted")
        return read_stored_image_reduced(path, sha256, min_side)

    monkeypatch.setattr("data_miner_dagster.operations.foreign.stored_pictures.read_stored_image_reduced", read)
    outcomes = embed_frames(platform, ["file-a", "file-b", "file-c"])

    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.DONE, OutcomeStatus.FAILED, OutcomeStatus.DONE]
    assert outcomes[1].error_kind is VideoErrorKind.INTERNAL_ERROR
    assert re.fullmatch(
        r"ZeroDivisionError: planted \(operations/foreign/stored_pictures.py:\d+\)", outcomes[1].message
    )
    assert (outcomes[2].metadata["num_embedded"], outcomes[2].metadata["num_unreadable"]) == (1, 1)
    row = find_video(platform.database, "file-b")
    assert row is not None
    assert (row.status, row.error) == (VideoStatus.FAILED, outcomes[1].message)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_embed_frames__real_network_equals_one_image_at_a_time(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "cache"))
    models = tiny_config("siglip2", save_tiny("siglip2", tmp_path / "network"))
    models = models.model_copy(update={"cpu_backend": backend})
    config = PlatformConfig(models=models, embedding=EmbeddingConfig(batch_size=3))
    platform = Platform(config, tmp_path / "root")
    colours = [(40 * index, 255 - 40 * index, 128) for index in range(6)]
    for key in ("file-a", "file-b"):
        plant_video(platform, key, *colours)
    assert [outcome.status.value for outcome in embed_frames(platform, ["file-a", "file-b"])] == ["done", "done"]
    encoder = ModelProvider(models.model_copy(update={"cpu_backend": "torch"})).filter_encoder.load()
    for key in ("file-a", "file-b"):
        stored = read_embeddings(platform.layout.embedding_file("tiny", key))
        assert stored is not None
        for index, vector in zip(stored.frame_indices, stored.vectors, strict=True):
            path = platform.layout.frame_path(key, frame_file_name(int(index)))
            image = see_picture(path.read_bytes(), max_pixels=10**7)
            np.testing.assert_allclose(vector, embed_images(encoder, [image])[0], atol=1e-3)
