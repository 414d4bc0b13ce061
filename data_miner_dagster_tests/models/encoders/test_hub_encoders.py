"""Tests that compare the wrappers with transformers' own processors and calls, on tiny random networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.encoders.pixels import PixelPreparation
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster_tests.support.tiny_networks import (
    ARCHITECTURES,
    IMAGE_TEXT_ARCHITECTURES,
    save_tiny,
    tiny_config,
)

PROMPTS = ["a photo of a cat", "the red bus", "dog"]
WORD_IDS = [[4, 5, 6, 4, 7], [9, 10, 11], [8]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {architecture: save_tiny(architecture, root / architecture) for architecture in ARCHITECTURES}


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    """Return smooth images, for which two ways of resizing differ only by rounding."""
    rows, columns = np.mgrid[0:120, 0:160]
    waves = [np.stack([rows * 2, columns, (rows + columns) // (1 + k)], axis=-1) % 256 for k in range(3)]
    return [np.array(Image.fromarray(wave.astype(np.uint8)).resize((96, 72))) for wave in waves]


def _unit(vectors: Any) -> Any:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embed_batch__equals_transformers_own_processing(
    architecture: str, folders: dict[str, Path], images: list[RgbImage]
) -> None:
    encoder = ModelProvider(tiny_config(architecture, folders[architecture])).dedup_encoder.load()
    processor = transformers.AutoImageProcessor.from_pretrained(folders[architecture])
    network = transformers.AutoModel.from_pretrained(folders[architecture]).eval()
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        has_text = hasattr(network, "get_image_features")
        outputs = network.get_image_features(pixel_values=pixels) if has_text else network(pixel_values=pixels)
    np.testing.assert_allclose(embed_images(encoder, images), _unit(outputs.pooler_output), atol=5e-3)


@pytest.mark.parametrize("architecture", IMAGE_TEXT_ARCHITECTURES)
def test_embed_texts__equals_the_network_on_ids_written_by_hand(architecture: str, folders: dict[str, Path]) -> None:
    encoder = ModelProvider(tiny_config(architecture, folders[architecture])).filter_encoder.load()
    network = transformers.AutoModel.from_pretrained(folders[architecture]).eval()
    for words, vector in zip(WORD_IDS, encoder.embed_texts(PROMPTS), strict=True):
        ids = {
            "siglip": [*words, 3, *[3] * (63 - len(words))],
            "siglip2": [*words, 3, *[0] * (63 - len(words))],
            "clip": [2, *words, 3],
            "metaclip2": [2, *words, 3],
            "tipsv2": words,  # its attention mask makes padding irrelevant
        }[architecture]
        with torch.inference_mode():
            expected = _unit(network.get_text_features(torch.tensor([ids])).pooler_output)[0]
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_embed_texts__siglip_reads_lower_case(folders: dict[str, Path]) -> None:
    encoder = ModelProvider(tiny_config("siglip2", folders["siglip2"])).filter_encoder.load()
    np.testing.assert_array_equal(encoder.embed_texts(["The Red BUS"]), encoder.embed_texts(["the red bus"]))


@pytest.mark.parametrize("architecture", ["siglip", "metaclip2"])
def test_embed_texts__longer_than_the_network_reads(architecture: str, folders: dict[str, Path]) -> None:
    encoder = ModelProvider(tiny_config(architecture, folders[architecture])).filter_encoder.load()
    assert encoder.embed_texts(["cat " * 200]).shape == (1, encoder.embedding_dim)


@pytest.mark.parametrize("architecture", ["dinov2", "dinov3"])
def test_pooling__each_is_another_vector(architecture: str, folders: dict[str, Path], images: list[RgbImage]) -> None:
    network = transformers.AutoModel.from_pretrained(folders[architecture]).eval()
    by_pooling = {}
    for pooling in ("pooler", "cls", "mean"):
        encoder = ModelProvider(tiny_config(architecture, folders[architecture], pooling=pooling)).dedup_encoder.load()
        by_pooling[pooling] = embed_images(encoder, images)
    batch = torch.from_numpy(np.stack([encoder.preprocess(image) for image in images]))
    processor = transformers.AutoImageProcessor.from_pretrained(folders[architecture])
    preparation = PixelPreparation.of_processor(processor, model="own")
    pixels = preparation.normalized(batch, torch.float32)
    with torch.inference_mode():
        hidden = network(pixel_values=pixels).last_hidden_state
    num_patches = 16  # 32 x 32 pixels in patches of 8 x 8, after the class token and, for DINOv3, two registers
    np.testing.assert_allclose(by_pooling["mean"], _unit(hidden[:, -num_patches:].mean(dim=1)), atol=1e-5)
    np.testing.assert_allclose(by_pooling["cls"], _unit(hidden[:, 0]), atol=1e-5)
    assert not np.allclose(by_pooling["mean"], by_pooling["cls"], atol=1e-3)


def test_pooling__unknown(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="`pooling: max` is not supported; use one of pooler, cls, mean"):
        ModelProvider(tiny_config("dinov2", folders["dinov2"], pooling="max")).dedup_encoder.load()


def test_load__folder_of_another_architecture(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="is of type 'dinov2' instead of siglip"):
        ModelProvider(tiny_config("siglip2", folders["dinov2"])).filter_encoder.load()


def test_load__naflex_is_refused_and_another_is_named(tmp_path: Path) -> None:
    transformers.Siglip2Config().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"NaFlex checkpoint.*use a fixed-resolution SigLIP 2 checkpoint"):
        ModelProvider(tiny_config("siglip2", tmp_path)).filter_encoder.load()


def test_load__pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_tiny("dinov2", tmp_path / "pickled")
    network = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="could not be loaded"):
        ModelProvider(tiny_config("dinov2", folder)).dedup_encoder.load()


def test_load__truncated_weights_are_one_clear_line(tmp_path: Path) -> None:
    folder = save_tiny("dinov2", tmp_path / "truncated")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ModelError, match="could not be loaded") as raised:
        ModelProvider(tiny_config("dinov2", folder)).dedup_encoder.load()
    assert "\n" not in str(raised.value)


def test_load__once_a_process_and_anew_when_the_weights_change(tmp_path: Path) -> None:
    config = tiny_config("dinov2", save_tiny("dinov2", tmp_path / "net"))
    first = ModelProvider(config).dedup_encoder.load()
    assert ModelProvider(config).dedup_encoder.load() is first
    network = transformers.AutoModel.from_pretrained(tmp_path / "net")
    with torch.no_grad():
        network.layernorm.weight.mul_(2)
    network.save_pretrained(tmp_path / "net")
    changed = ModelProvider(config)
    assert changed.dedup_encoder.fingerprint != first.fingerprint
    assert changed.dedup_encoder.load() is not first
