"""Real JPEGs and files; the encoder is one whose vectors are known by hand: the mean colour as a direction."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.embedding import EmbeddingConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import (
    Float32Array,
    OutcomeStatus,
    RgbImage,
    SimilarityCalibration,
    VideoCandidate,
    VideoOutcome,
)
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.media.images import read_image
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.embedding import embed_frames, ensure_embeddings, load_vectors
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.encoders import embed_images
from data_miner_dagster.storage.embeddings import read_embeddings
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.models.tiny_networks import save_tiny, tiny_config

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class ColourEncoder:
    embedding_dim = 3
    input_side = 8
    calibration = SimilarityCalibration(0.5, 0.9)

    def __init__(self, name: str) -> None:
        self.name, self.fingerprint = name, f"{name}-1"
        self.batch_sizes: list[int] = []

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return np.asarray(image.reshape(-1, 3).mean(axis=0))

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        self.batch_sizes.append(len(batch))
        units: Float32Array = (batch / np.linalg.norm(batch, axis=1, keepdims=True)).astype(np.float32)
        return units

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        raise AssertionError("embedding frames needs no prompts")


class ColourModels(ModelProvider):
    def __init__(self) -> None:
        super().__init__(ModelsConfig(profile="lite"))
        self.encoders = {"filter": ColourEncoder("colour"), "dedup": ColourEncoder("tone")}
        self.num_loaded = 0

    @property
    def filter_encoder_name(self) -> str:
        return self.encoders["filter"].name

    @property
    def filter_encoder_fingerprint(self) -> str:
        return self.encoders["filter"].fingerprint

    @property
    def dedup_encoder_name(self) -> str:
        return self.encoders["dedup"].name

    @property
    def dedup_encoder_fingerprint(self) -> str:
        return self.encoders["dedup"].fingerprint

    def filter_encoder(self) -> ColourEncoder:
        self.num_loaded += 1
        return self.encoders["filter"]

    def dedup_encoder(self) -> ColourEncoder:
        self.num_loaded += 1
        return self.encoders["dedup"]


class ColourPlatform(Platform):
    def __init__(self, root: Path, batch_size: int = 4) -> None:
        super().__init__(PlatformConfig(embedding=EmbeddingConfig(batch_size=batch_size)), root)
        self.colours = ColourModels()
        self.__dict__["models"] = self.colours


@pytest.fixture
def platform(tmp_path: Path) -> ColourPlatform:
    return ColourPlatform(tmp_path)


def _add_video(platform: Platform, key: str, status: VideoStatus = VideoStatus.EXTRACTED) -> None:
    candidate = VideoCandidate(key, f"/{key}.mp4", "files", ".", 0, datetime(2026, 1, 1, tzinfo=UTC))
    platform.catalog.save_project("pets", {}, "hash", None)
    with platform.catalog.database.transaction() as session:
        platform.catalog.add_candidate(session, "pets", candidate, rejected_because=None)
        session.get_one(VideoRow, key).status = status


def _write_frames(
    platform: Platform, key: str, colours: Iterable[tuple[int, int, int]], fingerprint: str = "frames-1"
) -> None:
    folder = platform.layout.frames_folder(key)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index, colour in enumerate(colours):
        image = np.full((24, 32, 3), colour, np.uint8)
        path = folder / frame_file_name(index)
        assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
        rows.append(
            {
                "frame_id": make_frame_id(key, index),
                "video_key": key,
                "frame_index": index,
                "file_name": path.name,
                "pts": index,
                "time_base_numerator": 1,
                "time_base_denominator": 1,
                "pts_seconds": float(index),
                "source_frame_number": index,
                "is_keyframe": True,
                "width": 32,
                "height": 24,
                "size_bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "sharpness": 0.0,
                "brightness": 0.0,
                "contrast": 0.0,
                "is_letterboxed": False,
                "perceptual_hash": 0,
                "quality_flag": None,
            }
        )
    write_table(platform.layout.frames_table(key), table_from_rows(rows, FRAMES_SCHEMA), fingerprint=fingerprint)


def _video(platform: Platform, key: str, *colours: tuple[int, int, int]) -> None:
    _add_video(platform, key)
    _write_frames(platform, key, colours)


def _statuses(outcomes: Sequence[VideoOutcome]) -> list[tuple[str, OutcomeStatus]]:
    return [(outcome.video_key, outcome.status) for outcome in outcomes]


def test_embed_frames__no_videos(platform: ColourPlatform) -> None:
    assert embed_frames(platform, []) == []
    assert platform.colours.num_loaded == 0


def test_embed_frames__a_vector_for_each_frame(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED, GREEN, BLUE)
    (outcome,) = embed_frames(platform, ["file-a"])
    assert outcome.status is OutcomeStatus.DONE
    assert dict(outcome.metadata) == {"encoder": "colour", "num_frames": 3, "num_embedded": 3, "num_unreadable": 0}
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.fingerprint == embeddings_fingerprint_of("frames-1", "colour-1")
    assert stored.frame_indices.tolist() == [0, 1, 2]
    assert stored.vectors.dtype == np.float16
    np.testing.assert_allclose(stored.vectors, np.eye(3), atol=0.02)  # JPEG shifts colours a little


def test_embed_frames__second_call_does_nothing_and_loads_nothing(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    embed_frames(platform, ["file-a"])
    path = platform.layout.embedding_file("colour", "file-a")
    written = path.stat().st_mtime_ns
    platform.colours.num_loaded = 0
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.REUSED)]
    assert (platform.colours.num_loaded, path.stat().st_mtime_ns) == (0, written)
    assert _statuses(embed_frames(platform, ["file-a"], force=True)) == [("file-a", OutcomeStatus.DONE)]


def test_embed_frames__current_ones_are_no_older_than_frames_made_again(platform: ColourPlatform) -> None:
    """Sensors compare times: the file would count as missing, and be asked for, for ever."""
    _video(platform, "file-a", RED)
    embed_frames(platform, ["file-a"])
    path = platform.layout.embedding_file("colour", "file-a")
    content = path.read_bytes()
    later = path.stat().st_mtime_ns + 5 * 10**9
    os.utime(platform.layout.frames_table("file-a"), ns=(later, later))
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.REUSED)]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, later)


def test_embed_frames__new_frames_or_encoder_make_it_stale(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    embed_frames(platform, ["file-a"])
    _write_frames(platform, "file-a", [GREEN, BLUE], fingerprint="frames-2")
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    platform.colours.encoders["filter"].fingerprint = "colour-2"
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.fingerprint == embeddings_fingerprint_of("frames-2", "colour-2")


def test_embed_frames__videos_share_batches_and_outcomes_keep_the_order_asked(platform: ColourPlatform) -> None:
    for key in ("file-c", "file-a", "file-b"):
        _video(platform, key, RED, GREEN)
    reported: list[str] = []
    outcomes = embed_frames(
        platform, ["file-c", "file-a", "file-b"], report=lambda done: reported.append(done.video_key)
    )
    assert _statuses(outcomes) == [(key, OutcomeStatus.DONE) for key in ("file-c", "file-a", "file-b")]
    assert platform.colours.encoders["filter"].batch_sizes == [4, 2]
    assert reported == ["file-a", "file-b", "file-c"]


def test_embed_frames__is_reported_before_the_next_videos_are_done(platform: ColourPlatform) -> None:
    for key in ("file-a", "file-b", "file-c"):
        _video(platform, key, *[RED] * 20)
    files_at_report: list[int] = []
    folder = platform.layout.embeddings / "colour"
    embed_frames(
        platform,
        ["file-a", "file-b", "file-c"],
        report=lambda _: files_at_report.append(len(list(folder.glob("*.npz")))),
    )
    assert files_at_report == [1, 2, 3]


def test_embed_frames__same_key_twice_is_worked_on_once(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    assert _statuses(embed_frames(platform, ["file-a", "file-a"])) == [("file-a", OutcomeStatus.DONE)] * 2
    assert platform.colours.encoders["filter"].batch_sizes == [1]


def test_embed_frames__video_without_frames_gets_an_empty_file(platform: ColourPlatform) -> None:
    _video(platform, "file-a")
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.vectors.shape == (0, 3)


def test_embed_frames__not_extracted_failed_and_unknown_videos_hold_up_nobody(platform: ColourPlatform) -> None:
    _add_video(platform, "file-a", VideoStatus.DOWNLOADED)
    _add_video(platform, "file-b", VideoStatus.EXTRACTED)  # but its files are gone
    _add_video(platform, "file-c", VideoStatus.FAILED)
    _video(platform, "file-e", RED)
    outcomes = embed_frames(platform, ["file-a", "file-b", "file-c", "file-d", "file-e"])
    assert [outcome.status.value for outcome in outcomes] == ["blocked", "blocked", "failed", "blocked", "done"]
    assert outcomes[0].message == "the frames of file-a have not been extracted (it is DOWNLOADED)"


def test_embed_frames__damaged_image_is_left_out_and_counted(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED, GREEN, BLUE)
    path = platform.layout.frame_path("file-a", frame_file_name(1))
    path.write_bytes(path.read_bytes()[:-40])
    (outcome,) = embed_frames(platform, ["file-a"])
    assert (outcome.status, outcome.metadata["num_unreadable"]) == (OutcomeStatus.DONE, 1)
    assert "000001.jpg" in outcome.message
    stored = read_embeddings(platform.layout.embedding_file("colour", "file-a"))
    assert stored is not None
    assert stored.frame_indices.tolist() == [0, 2]


def test_embed_frames__no_readable_image_at_all_fails_the_video_alone(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    _video(platform, "file-b", RED)
    platform.layout.frame_path("file-a", frame_file_name(0)).unlink()
    failed, done = embed_frames(platform, ["file-a", "file-b"])
    assert (failed.status, failed.error_kind) == (OutcomeStatus.FAILED, VideoErrorKind.UNDECODABLE)
    assert done.status is OutcomeStatus.DONE
    assert not platform.layout.embedding_file("colour", "file-a").exists()


def test_embed_frames__two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name, batch_size in (("one", 2), ("two", 5)):
        platform = ColourPlatform(tmp_path / name, batch_size)
        _video(platform, "file-a", RED, GREEN, BLUE, RED)
        embed_frames(platform, ["file-a"])
        contents.append(platform.layout.embedding_file("colour", "file-a").read_bytes())
    assert contents[0] == contents[1]


def test_embed_frames__a_broken_run_frees_its_claims_and_the_next_takes_up(
    platform: ColourPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("file-a", "file-b", "file-c"):
        _video(platform, key, *[RED] * 4)
    encoder = platform.colours.encoders["filter"]

    def breaks(batch: npt.NDArray[Any]) -> Float32Array:
        if encoder.batch_sizes:
            raise RuntimeError("the device fell off the bus")
        return ColourEncoder.embed_batch(encoder, batch)

    with monkeypatch.context() as patched:
        patched.setattr(encoder, "embed_batch", breaks)
        with pytest.raises(RuntimeError, match="fell off"):
            embed_frames(platform, ["file-a", "file-b", "file-c"])
    for key in ("file-a", "file-b", "file-c"):
        with hold_claim(platform.catalog.database, f"video/{key}", wait_seconds=0):
            pass
    statuses = [outcome.status.value for outcome in embed_frames(platform, ["file-a", "file-b", "file-c"])]
    assert statuses == ["reused", "done", "done"]


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
        _video(platform, key, *colours)
    assert [outcome.status.value for outcome in embed_frames(platform, ["file-a", "file-b"])] == ["done", "done"]
    encoder = ModelProvider(models.model_copy(update={"cpu_backend": "torch"})).filter_encoder()
    for key in ("file-a", "file-b"):
        stored = read_embeddings(platform.layout.embedding_file("tiny", key))
        assert stored is not None
        for index, vector in zip(stored.frame_indices, stored.vectors, strict=True):
            image = read_image(platform.layout.frame_path(key, frame_file_name(int(index))))
            np.testing.assert_allclose(vector, embed_images(encoder, [image])[0], atol=1e-3)


def test_ensure_embeddings__nothing_asked(platform: ColourPlatform) -> None:
    ensure_embeddings(platform, "dedup", {})
    assert platform.colours.num_loaded == 0


def test_ensure_embeddings__only_the_frames_named_then_only_what_is_missing(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED, GREEN, BLUE)
    encoder = platform.colours.encoders["dedup"]
    ensure_embeddings(platform, "dedup", {"file-a": [2, 0]})
    assert encoder.batch_sizes == [2]
    np.testing.assert_allclose(load_vectors(platform, "dedup", "file-a", [2, 0]), np.eye(3)[[2, 0]], atol=0.02)
    ensure_embeddings(platform, "dedup", {"file-a": [0, 1]})
    assert encoder.batch_sizes == [2, 1]
    platform.colours.num_loaded = 0
    ensure_embeddings(platform, "dedup", {"file-a": [0, 1, 2]})
    assert platform.colours.num_loaded == 0
    vectors = load_vectors(platform, "dedup", "file-a", [1, 1, 0])
    np.testing.assert_allclose(vectors, np.eye(3)[[1, 1, 0]], atol=0.02)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_ensure_embeddings__a_file_of_some_frames_is_not_taken_for_all_of_them(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED, GREEN)
    platform.colours.encoders["dedup"] = platform.colours.encoders["filter"]
    ensure_embeddings(platform, "dedup", {"file-a": [0]})
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.DONE)]
    ensure_embeddings(platform, "dedup", {"file-a": [0, 1]})
    assert _statuses(embed_frames(platform, ["file-a"])) == [("file-a", OutcomeStatus.REUSED)]


def test_ensure_embeddings__stale_vectors_are_made_anew(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    ensure_embeddings(platform, "dedup", {"file-a": [0]})
    _write_frames(platform, "file-a", [BLUE], fingerprint="frames-2")
    with pytest.raises(PermanentError, match="lacks embeddings"):
        load_vectors(platform, "dedup", "file-a", [0])
    ensure_embeddings(platform, "dedup", {"file-a": [0]})
    np.testing.assert_allclose(load_vectors(platform, "dedup", "file-a", [0]), np.eye(3)[[2]], atol=0.02)


def test_ensure_embeddings__unknown_frame_missing_frames_and_damaged_image(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED)
    with pytest.raises(PermanentError, match="no frame file-a/000007"):
        ensure_embeddings(platform, "dedup", {"file-a": [0, 7]})
    with pytest.raises(PermanentError, match="frames of file-b are missing"):
        ensure_embeddings(platform, "dedup", {"file-b": [0]})
    platform.layout.frame_path("file-a", frame_file_name(0)).write_bytes(b"no picture")
    with pytest.raises(PermanentError, match=r"000000\.jpg"):
        ensure_embeddings(platform, "dedup", {"file-a": [0]})


def test_load_vectors__not_made(platform: ColourPlatform) -> None:
    _video(platform, "file-a", RED, GREEN)
    with pytest.raises(PermanentError, match="lacks embeddings by tone"):
        load_vectors(platform, "dedup", "file-a", [0])
    ensure_embeddings(platform, "dedup", {"file-a": [0]})
    with pytest.raises(PermanentError, match="lacks embeddings"):
        load_vectors(platform, "dedup", "file-a", [1])
    assert load_vectors(platform, "dedup", "file-a", []).shape == (0, 3)
