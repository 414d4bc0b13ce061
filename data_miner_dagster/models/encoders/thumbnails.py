"""Thumbnails with the interface of an encoder: computed, stored and shared like embeddings, but without a model.

Does not belong here: comparing them (stages/deduplication/views.py).
"""

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration
from data_miner_dagster.domain.thumbnails import CHROMA_WH, LUMA_WH, NUM_VALUES

if TYPE_CHECKING:
    from data_miner_dagster.models.registry import ModelEntry

_INPUT_SIDE: Final = 64


class ThumbnailMaker:
    """Reduces images to a few thousand luma and colour values from 0 to 255, which are not unit vectors."""

    def __init__(self, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.embedding_dim = NUM_VALUES
        self.input_side = _INPUT_SIDE
        self.calibration = SimilarityCalibration(positive_threshold=1.0, duplicate_threshold=1.0)

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        """Return the image's thumbnail, (NUM_VALUES,) uint8, in the layout of `domain/thumbnails.py`. Thread-safe."""
        small = cv2.resize(image, LUMA_WH, interpolation=cv2.INTER_AREA)
        planes = cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)
        colours = cv2.resize(planes[..., 1:], CHROMA_WH, interpolation=cv2.INTER_AREA)
        return np.concatenate([planes[..., 0].ravel(), colours[..., 0].ravel(), colours[..., 1].ravel()])

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        """Return a batch of thumbnails, (N, NUM_VALUES), as float32."""
        return np.asarray(batch, np.float32)


def load(entry: "ModelEntry", device: str) -> ThumbnailMaker:
    """Return a thumbnail maker, which has no weights and uses no device."""
    del device
    return ThumbnailMaker(entry.name, entry.fingerprint)
