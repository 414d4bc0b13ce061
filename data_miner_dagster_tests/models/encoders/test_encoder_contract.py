"""Tests of the contract of encoders, with a fake encoder, each hub architecture and the lite models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration
from data_miner_dagster.models.packages import missing_packages
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster_tests.support.tiny_networks import ARCHITECTURES, save_tiny, tiny_config

SIZES = ((1, 1), (7, 500), (33, 31), (48, 64), (601, 13))
ON_GRAPHS = ("siglip2 by onnxruntime", "dinov2 by openvino")
TOLERANCE = 1e-4
"""The greatest allowed difference between an embedding computed alone and in a batch."""


class FakeEncoder:
    """Embeds an image as the direction of its mean colour, and a prompt as a direction computed from its letters."""

    name, fingerprint, embedding_dim, input_side = "fake", "fake-1", 3, 1
    calibration = SimilarityCalibration(0.5, 0.9)

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return np.asarray(image.reshape(-1, 3).mean(axis=0) + 1)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        rows = batch.reshape(-1, 3)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        counts = [[1 + prompt.count(letter) for letter in "ato"] for prompt in prompts]
        return self.embed_batch(np.array(counts, np.float64).reshape(-1, 3))


@pytest.fixture(scope="module", params=["fake", *ARCHITECTURES, *ON_GRAPHS, "lite-conse", "lite-efficientnet"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    name = cast("str", request.param)
    if name == "fake":
        return FakeEncoder()
    if name.startswith("lite-"):
        if missing_packages(BUILT_IN[name].packages):
            pytest.skip("the lite weights are not in the model cache: `data-miner models fetch --profile lite`")
        return ModelProvider(ModelsConfig(profile="lite", dedup_encoder=name, device="cpu")).dedup_encoder.load()
    architecture, _, backend = name.partition(" by ")
    folder: Path = save_tiny(architecture, tmp_path_factory.mktemp("contract") / architecture)
    config = tiny_config(architecture, folder).model_copy(update={"cpu_backend": backend or "torch"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATA_MINER_MODEL_CACHE", str(folder.parent / "cache"))
        return ModelProvider(config).dedup_encoder.load()


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    noise = np.random.default_rng(3)
    return [noise.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def test_encoder__implements_the_protocol(encoder: ImageEncoder) -> None:
    assert isinstance(encoder, ImageEncoder)
    assert encoder.embedding_dim > 0
    assert encoder.input_side > 0
    assert -1 <= encoder.calibration.duplicate_threshold <= 1


def test_embed_batch__no_images(encoder: ImageEncoder, images: list[RgbImage]) -> None:
    empty = np.stack([encoder.preprocess(images[0])])[:0]
    vectors = encoder.embed_batch(empty)
    assert vectors.shape == (0, encoder.embedding_dim)
    assert vectors.dtype == np.float32


def test_preprocess__any_size_gives_one_shape_and_leaves_the_image_alone(
    encoder: ImageEncoder, images: list[RgbImage]
) -> None:
    before = [image.copy() for image in images]
    prepared = [encoder.preprocess(image) for image in images]
    assert len({(array.shape, array.dtype) for array in prepared}) == 1
    for image, copy in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, copy)


def test_embed_batch__unit_length_and_finite(encoder: ImageEncoder, images: list[RgbImage]) -> None:
    flat = [np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)]
    vectors = embed_images(encoder, [*images, *flat])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_embed_batch__order_and_company_do_not_matter(encoder: ImageEncoder, images: list[RgbImage]) -> None:
    together = embed_images(encoder, images)
    alone = np.concatenate([embed_images(encoder, [image]) for image in images])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    np.testing.assert_allclose(embed_images(encoder, images[::-1]), together[::-1], atol=TOLERANCE)


def test_embed_batch__twice_the_same_is_the_same_to_the_bit(encoder: ImageEncoder, images: list[RgbImage]) -> None:
    np.testing.assert_array_equal(embed_images(encoder, images), embed_images(encoder, images))


def test_embed_texts__order_unit_length_and_none(encoder: ImageEncoder) -> None:
    if not isinstance(encoder, ImageTextEncoder):
        pytest.skip("an image encoder")
    assert encoder.embed_texts([]).shape == (0, encoder.embedding_dim)
    prompts = ["a cat", "a photo of a red bus on a long, long street", "dog"]
    together = encoder.embed_texts(prompts)
    assert together.shape == (3, encoder.embedding_dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.embed_texts([prompt]) for prompt in prompts])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
