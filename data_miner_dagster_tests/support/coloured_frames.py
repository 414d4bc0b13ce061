"""Videos whose frames have one colour each, and an encoder with a known result: the vector is the mean colour."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.embedding import EmbeddingConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import (
    Float32Array,
    OutcomeStatus,
    RgbImage,
    SimilarityCalibration,
    VideoOutcome,
)
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.models import PlantedModels

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

    def embed_texts(self, _prompts: Sequence[str]) -> Float32Array:
        raise AssertionError("embedding frames needs no prompts")


class ColourPlatform(Platform):
    def __init__(self, root: Path, batch_size: int = 4) -> None:
        self.encoder, self.dedup_encoder = ColourEncoder("colour"), ColourEncoder("tone")
        self.planted = PlantedModels(self.encoder, self.dedup_encoder)
        config = PlatformConfig(embedding=EmbeddingConfig(batch_size=batch_size))
        super().__init__(config, root, models=self.planted)


def plant_frames(
    platform: Platform, key: str, colours: Iterable[tuple[int, int, int]], fingerprint: str = "frames-1"
) -> None:
    contents = []
    for colour in colours:
        picture = np.full((24, 32, 3), colour[::-1], np.uint8)  # OpenCV expects BGR
        contents.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    write_pictures(platform.layout, key, contents, fingerprint=fingerprint, width=32, height=24)


def plant_video(platform: Platform, key: str, *colours: tuple[int, int, int]) -> None:
    add_project(platform.database, "pets")
    add_video(platform.database, key, "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, key, colours)


def statuses_of(outcomes: Sequence[VideoOutcome]) -> list[tuple[str, OutcomeStatus]]:
    return [(outcome.video_key, outcome.status) for outcome in outcomes]
