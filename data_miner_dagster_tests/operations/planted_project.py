"""A project whose frames and embeddings are planted on disk, with an encoder whose geometry is known by hand.

The words of the fake encoder are the axes of its space: the prompt "cat" is the first axis, "dog" the second, and so
on, so the similarity of a frame to a prompt is simply the frame's coordinate.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration, VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.tables import FRAMES_SCHEMA
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.embeddings import StoredEmbeddings, write_embeddings
from data_miner_dagster.storage.tables import table_from_rows, write_table

WORDS = ("cat", "dog", "slide", "bus")


class AxisEncoder:
    """Implements ImageTextEncoder: the prompt WORDS[i], alone or within a template, is axis i."""

    name = "axis"
    fingerprint = "axis-1"
    embedding_dim = len(WORDS)
    input_side = 8
    calibration = SimilarityCalibration(positive_threshold=0.5, duplicate_threshold=0.9)

    def __init__(self) -> None:
        self.texts_embedded: list[str] = []

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        """Return the mean colour."""
        return np.asarray(image.reshape(-1, 3).mean(axis=0), np.float32)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        """Return red as "cat", green as "dog", blue as "slide"; black as "bus"."""
        vectors = np.zeros((len(batch), self.embedding_dim), np.float32)
        vectors[:, :3] = batch
        vectors[:, 3] = np.where(batch.sum(axis=1) == 0, 1, 0) if len(batch) else 0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return one axis per prompt, by the word it contains."""
        self.texts_embedded += prompts
        vectors = np.zeros((len(prompts), self.embedding_dim), np.float32)
        for row, prompt in enumerate(prompts):
            vectors[row, next(i for i, word in enumerate(WORDS) if word in prompt)] = 1
        return vectors


class PlantedModels(ModelProvider):
    """A provider of the axis encoder alone."""

    def __init__(self, encoder: AxisEncoder) -> None:
        super().__init__(ModelsConfig(profile="lite"))
        self.encoder = encoder

    @property
    def filter_encoder_name(self) -> str:
        """The axis encoder's name."""
        return self.encoder.name

    @property
    def filter_encoder_fingerprint(self) -> str:
        """The axis encoder's fingerprint."""
        return self.encoder.fingerprint

    @property
    def filter_encoder_calibration(self) -> SimilarityCalibration:
        """The axis encoder's calibration."""
        return self.encoder.calibration

    def filter_encoder(self) -> AxisEncoder:
        """The axis encoder."""
        return self.encoder


class PlantedPlatform(Platform):
    """A platform of one root, with the axis encoder as filter encoder."""

    def __init__(self, root: Path, models: PlantedModels | None = None) -> None:
        planted = models or PlantedModels(AxisEncoder())
        super().__init__(PlatformConfig(), root, models=planted)
        self.encoder = planted.encoder


def save_project(platform: Platform, name: str = "pets", **filtering: Any) -> ProjectConfig:
    """Write a project with a `filtering` section to the catalog; the default prompt is "cat"."""
    config = ProjectConfig.model_validate(
        {
            "name": name,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["cat"], **filtering},
            "detection": {"classes": {"cat": []}},
        }
    )
    dump = config.model_dump(mode="json")
    platform.catalog.save_project(name, dump, fingerprint_of(dump), None)
    return config


def add_video(
    platform: Platform,
    key: str,
    *,
    project: str = "pets",
    status: VideoStatus = VideoStatus.EXTRACTED,
    error_kind: VideoErrorKind | None = None,
    rejected_because: str | None = None,
) -> None:
    """Make `key` a member of the project, with its video in the given status."""
    candidate = VideoCandidate(
        key, f"/clips/{key}.mp4", "files", ".", 0, datetime(2026, 1, 1, tzinfo=UTC), origin=Origin.LOCAL
    )
    with platform.catalog.database.transaction() as session:
        platform.catalog.add_candidate(session, project, candidate, rejected_because=rejected_because)
        row = session.get_one(VideoRow, key)
        row.status, row.error_kind, row.error = status, error_kind, "planted" if error_kind else None


def plant_frames(
    platform: Platform,
    key: str,
    vectors: Sequence[Sequence[float]],
    *,
    frames_fingerprint: str = "frames-1",
    quality_flags: Sequence[str | None] | None = None,
    seconds_apart: float = 1.0,
    with_embeddings: bool = True,
    left_out: Sequence[int] = (),
) -> None:
    """Write frames and embeddings; frame i shows `vectors[i]` at i * seconds_apart, but those `left_out`."""
    rows = [
        {
            "frame_id": make_frame_id(key, index),
            "video_key": key,
            "frame_index": index,
            "source_frame_number": index,
            "file_name": frame_file_name(index),
            "pts": round(index * seconds_apart * 1000),
            "time_base_numerator": 1,
            "time_base_denominator": 1000,
            "pts_seconds": index * seconds_apart,
            "is_keyframe": True,
            "width": 64,
            "height": 48,
            "size_bytes": 1000,
            "sha256": f"{index:064x}",
            "sharpness": 100.0,
            "brightness": 100.0,
            "contrast": 50.0,
            "is_letterboxed": False,
            "perceptual_hash": index,
            "quality_flag": quality_flags[index] if quality_flags else None,
        }
        for index in range(len(vectors))
    ]
    path = platform.layout.frames_table(key)
    write_table(path, table_from_rows(rows, FRAMES_SCHEMA), fingerprint=frames_fingerprint)
    if not with_embeddings:
        return
    present = [index for index in range(len(vectors)) if index not in left_out]
    array = np.asarray(vectors, np.float16).reshape(len(vectors), len(WORDS))[present]
    name, fingerprint = platform.models.filter_encoder_name, platform.models.filter_encoder_fingerprint
    write_embeddings(
        platform.layout.embedding_file(name, key),
        StoredEmbeddings(
            np.asarray(present, np.int32), array, embeddings_fingerprint_of(frames_fingerprint, fingerprint)
        ),
    )
