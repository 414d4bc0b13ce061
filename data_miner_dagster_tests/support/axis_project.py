"""A project whose frames and embeddings are planted on disk, with an encoder whose geometry is easy to calculate.

The words of the fake encoder are the axes of its space: the prompt "cat" is the first axis, "dog" the second, and so
on, so the similarity of a frame to a prompt is simply the frame's coordinate.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.support.embeddings import plant_thumbnails
from data_miner_dagster_tests.support.frames import write_frames
from data_miner_dagster_tests.support.models import PlantedModels

WORDS = ("cat", "dog", "slide", "bus")


class AxisEncoder:
    """An ImageTextEncoder for which the prompt WORDS[i], alone or within a template, is axis i."""

    name = "axis"
    fingerprint = "axis-1"
    embedding_dim = len(WORDS)
    input_side = 8
    calibration = SimilarityCalibration(positive_threshold=0.5, duplicate_threshold=0.9)

    def __init__(self) -> None:
        self.texts_embedded: list[str] = []

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        """Return the mean colour of the image."""
        return np.asarray(image.reshape(-1, 3).mean(axis=0), np.float32)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        """Return a vector for each mean colour: red is "cat", green is "dog", blue is "slide", and black is "bus"."""
        vectors = np.zeros((len(batch), self.embedding_dim), np.float32)
        vectors[:, :3] = batch
        vectors[:, 3] = np.where(batch.sum(axis=1) == 0, 1, 0) if len(batch) else 0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return, for each prompt, the axis of the word that it contains."""
        self.texts_embedded += prompts
        vectors = np.zeros((len(prompts), self.embedding_dim), np.float32)
        for row, prompt in enumerate(prompts):
            vectors[row, next(i for i, word in enumerate(WORDS) if word in prompt)] = 1
        return vectors


class PlantedPlatform(Platform):
    """A platform on one root, with the axis encoder as its filter encoder."""

    def __init__(self, root: Path, *, detectors: Sequence[ObjectDetector] = ()) -> None:
        self.encoder = AxisEncoder()
        super().__init__(PlatformConfig(), root, models=PlantedModels(self.encoder, detectors=detectors))


def save_project(platform: Platform, name: str = "pets", **filtering: Any) -> ProjectConfig:
    """Save a project with these `filtering` settings in the catalog; the default prompt is "cat"."""
    config = ProjectConfig.model_validate(
        {
            "name": name,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["cat"], **filtering},
            "detection": {"classes": {"cat": []}},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, name, dump, fingerprint_of(dump), None)
    return config


def plant_frames(
    platform: Platform,
    key: str,
    vectors: Sequence[Sequence[float]],
    *,
    frames_fingerprint: str = "frames-1",
    with_embeddings: bool = True,
    left_out: Sequence[int] = (),
    **columns: Any,
) -> None:
    """Write frames, and embeddings of all frames except those in `left_out`; that of frame i is `vectors[i]`.

    `columns` replace default values as in `frame_rows`.
    """
    write_frames(platform.layout, key, len(vectors), fingerprint=frames_fingerprint, **columns)
    plant_thumbnails(platform, key, len(vectors))
    if not with_embeddings:
        return
    present = [index for index in range(len(vectors)) if index not in left_out]
    array = np.asarray(vectors, np.float16).reshape(len(vectors), len(WORDS))[present]
    name, fingerprint = platform.models.filter_encoder.name, platform.models.filter_encoder.fingerprint
    write_embeddings(
        platform.layout.embedding_file(name, key),
        StoredEmbeddings(
            np.asarray(present, np.int32), array, embeddings_fingerprint_of(frames_fingerprint, fingerprint)
        ),
    )
