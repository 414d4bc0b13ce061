"""A folder of pictures as a project's only source, and models that tell each of its pictures apart."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import (
    Float32Array,
    RgbImage,
    SimilarityCalibration,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster_tests.end_to_end.commands import write_yaml
from data_miner_dagster_tests.support.models import OneBox, PlantedModels

PROJECT = "things"
NUM_PICTURES = 5
BRIGHT = 100
"""Every picture is brighter than this, and an empty tile is darker."""


def picture_of(number: int) -> Image.Image:
    """Return a picture of bright blocks, which differ from picture to picture."""
    blocks = np.random.default_rng(number).choice(np.array([130, 190, 250], np.uint8), (8, 8, 3))
    return Image.fromarray(np.kron(blocks, np.ones((60, 80, 1), np.uint8)))


def coded(number: int, format: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    picture_of(number).save(buffer, format, **settings)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    return {
        "0.jpg": coded(0, "JPEG", quality=90),
        "1.png": coded(1, "PNG"),
        "2.webp": coded(2, "WEBP", quality=90),
        "3.jpg": coded(3, "JPEG", quality=90, progressive=True),
        "4.jpg": coded(4, "JPEG", quality=90),
    }


class _Encoder:
    """Gives each picture its own direction, and the same similarity to every prompt."""

    name = "numbers"
    fingerprint = "numbers-1"
    embedding_dim = 1 + NUM_PICTURES
    input_side = 32
    calibration = SimilarityCalibration(0.5, 0.9)

    def __init__(self) -> None:
        self._known = np.stack([np.asarray(picture_of(number).resize((8, 8)), float) for number in range(NUM_PICTURES)])

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return np.asarray(Image.fromarray(image).resize((8, 8)), float)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        nearest = np.abs(batch[:, None] - self._known[None]).sum(axis=(2, 3, 4)).argmin(axis=1)
        vectors = np.zeros((len(batch), self.embedding_dim), np.float32)
        vectors[:, 0], vectors[np.arange(len(batch)), 1 + nearest] = 0.6, 0.8
        return vectors

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        vectors = np.zeros((len(prompts), self.embedding_dim), np.float32)
        vectors[:, 0] = 1
        return vectors


def planted_models() -> PlantedModels:
    """Return models with one encoder for both roles, and a detector of one box."""
    encoder = _Encoder()
    return PlantedModels(encoder, encoder, [OneBox((80, 60, 240, 300), (480, 640))])


def listed(root: Path, contents: dict[str, bytes]) -> tuple[Platform, str]:
    """Return a platform with a project over one folder of pictures, and the folder's video key."""
    folder = root / "project" / "pictures"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    project_file = write_yaml(
        folder.parent / f"{PROJECT}.yaml",
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "frames", "folders": ["pictures"]}]},
            "filtering": {"positive": ["a thing"]},
            "detection": {"classes": {"thing": []}},
        },
    )
    platform = Platform(PlatformConfig(), root / "root", models=planted_models())
    register_project_file(platform, project_file)
    list_sources(platform, PROJECT)
    [video] = find_videos(platform.database)
    return platform, video.key


def brightness_of_tiles(webp: bytes) -> list[float]:
    """Return the mean brightness of each of the `NUM_PICTURES` 240 x 135 tiles of a sheet, row by row."""
    with Image.open(io.BytesIO(webp)) as opened:
        pixels = np.asarray(opened.convert("L"), float)
    num_columns = (pixels.shape[1] - 4) // 248
    num_rows = -(-NUM_PICTURES // num_columns)
    height = (pixels.shape[0] - 4) // num_rows
    places = [(4 + row * height, 4 + column * 248) for row in range(num_rows) for column in range(num_columns)]
    return [float(pixels[top + 26 : top + 106, left + 60 : left + 180].mean()) for top, left in places[:NUM_PICTURES]]
