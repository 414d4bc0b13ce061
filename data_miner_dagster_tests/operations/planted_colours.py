"""Videos whose frames are of one colour each, and an encoder whose vectors are known by hand: the mean colour."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.embedding import EmbeddingConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.keys import frame_file_name, make_frame_id
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
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import table_from_rows, write_table

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
        self.colours = ColourModels()
        config = PlatformConfig(embedding=EmbeddingConfig(batch_size=batch_size))
        super().__init__(config, root, models=self.colours)


def add_video(platform: Platform, key: str, status: VideoStatus = VideoStatus.EXTRACTED) -> None:
    candidate = VideoCandidate(
        key, f"/{key}.mp4", "files", ".", 0, datetime(2026, 1, 1, tzinfo=UTC), origin=Origin.LOCAL
    )
    platform.catalog.save_project("pets", {}, "hash", None)
    with platform.catalog.database.transaction() as session:
        platform.catalog.add_candidate(session, "pets", candidate, rejected_because=None)
        session.get_one(VideoRow, key).status = status


def plant_frames(
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


def plant_video(platform: Platform, key: str, *colours: tuple[int, int, int]) -> None:
    add_video(platform, key)
    plant_frames(platform, key, colours)


def statuses_of(outcomes: Sequence[VideoOutcome]) -> list[tuple[str, OutcomeStatus]]:
    return [(outcome.video_key, outcome.status) for outcome in outcomes]
