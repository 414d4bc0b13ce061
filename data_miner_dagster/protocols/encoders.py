"""The interfaces for encoders of images and prompts."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration


@runtime_checkable
class ImageEncoder(Protocol):
    """Encodes images as L2-normalized vectors, in two steps so that the first can run in worker threads.

    `name` is the registry name, which is safe to use as a folder name. `fingerprint` changes with weights, revision and
    preprocessing; vectors with different fingerprints are never compared. `input_side` is the side of the square input
    in pixels; images may be decoded at any size that is not smaller.
    """

    name: str
    fingerprint: str
    embedding_dim: int
    input_side: int
    calibration: SimilarityCalibration

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        """Return one image as input for `embed_batch`, always with the same shape and dtype.

        This method is thread-safe.
        """
        ...

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        """Return an (N, embedding_dim) array of unit vectors, one for each preprocessed image, in order. N may be 0."""
        ...


@runtime_checkable
class ImageTextEncoder(ImageEncoder, Protocol):
    """An image encoder whose vectors can be compared with prompts: similarity is the dot product."""

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return a (P, embedding_dim) array of unit vectors, one for each prompt, in order. P may be 0."""
        ...
