"""Tests that compare the CPU runtimes with torch, on tiny random networks of the real classes."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from data_miner_dagster.config.models import CpuBackend, ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.encoders import hub_encoders
from data_miner_dagster.models.encoders.cpu_graphs import write_graph
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster_tests.support.tiny_networks import ARCHITECTURES, save_tiny, tiny_config

TOLERANCE = 1e-5
BFLOAT16_COSINE = 0.999
GRAPH_BACKENDS: tuple[CpuBackend, ...] = ("onnxruntime", "openvino", "openvino-bfloat16")


@pytest.fixture(scope="module", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a model cache that the tests of this module share, so that each graph is written once."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("cache")
        patched.setenv("DATA_MINER_MODEL_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {architecture: save_tiny(architecture, root / architecture) for architecture in ARCHITECTURES}


@pytest.fixture(scope="module")
def images() -> list[RgbImage]:
    noise = np.random.default_rng(5)
    return [noise.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(5)]


def _with(backend: CpuBackend, config: ModelsConfig) -> ModelProvider:
    return ModelProvider(config.model_copy(update={"cpu_backend": backend}))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embed_batch__equals_torch_for_any_batch_size(
    architecture: str, folders: dict[str, Path], images: list[RgbImage]
) -> None:
    config = tiny_config(architecture, folders[architecture])
    expected = embed_images(_with("torch", config).dedup_encoder.load(), images)
    for backend in ("onnxruntime", "openvino"):
        encoder = _with(backend, config).dedup_encoder.load()
        np.testing.assert_allclose(embed_images(encoder, images), expected, atol=TOLERANCE)
        np.testing.assert_allclose(embed_images(encoder, images[:1]), expected[:1], atol=TOLERANCE)
        assert embed_images(encoder, []).shape == (0, encoder.embedding_dim)
    rounded = embed_images(_with("openvino-bfloat16", config).dedup_encoder.load(), images)
    assert (rounded * expected).sum(axis=1).min() > BFLOAT16_COSINE


def test_embed_batch__poolings_are_in_the_graph(folders: dict[str, Path], images: list[RgbImage]) -> None:
    for pooling in ("cls", "mean"):
        config = tiny_config("dinov3", folders["dinov3"], pooling=pooling)
        expected = embed_images(_with("torch", config).dedup_encoder.load(), images)
        found = embed_images(_with("onnxruntime", config).dedup_encoder.load(), images)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_embed_texts__prompts_are_compared_with_vectors_of_any_backend(folders: dict[str, Path]) -> None:
    config = tiny_config("clip", folders["clip"])
    expected = _with("torch", config).filter_encoder.load().embed_texts(["a cat", "the red bus"])
    np.testing.assert_array_equal(
        _with("onnxruntime", config).filter_encoder.load().embed_texts(["a cat", "the red bus"]), expected
    )


def test_fingerprint__does_not_depend_on_the_backend(folders: dict[str, Path]) -> None:
    config = tiny_config("dinov2", folders["dinov2"])
    providers = [_with(backend, config) for backend in ("torch", *GRAPH_BACKENDS)]
    assert len({provider.dedup_encoder.fingerprint for provider in providers}) == 1


def test_graph__written_once_for_both_runtimes_and_anew_for_other_weights(
    tmp_path: Path, model_cache: Path, monkeypatch: pytest.MonkeyPatch, images: list[RgbImage]
) -> None:
    derived = model_cache / "derived"
    folder = save_tiny("dinov2", tmp_path / "network")
    network = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        network.layernorm.weight.mul_(2)
    network.save_pretrained(folder)
    config = tiny_config("dinov2", folder)
    before = set(derived.glob("*"))
    first = embed_images(_with("onnxruntime", config).dedup_encoder.load(), images)
    (graph,) = set(derived.glob("*")) - before
    assert graph.suffix == ".onnx"

    def no_second_time(*_arguments: object) -> None:
        raise AssertionError("the graph was kept, and the weights need not be read")

    with monkeypatch.context() as patched:
        patched.setattr(hub_encoders, "write_graph", no_second_time)
        again = _with("openvino", config).dedup_encoder.load()
        np.testing.assert_allclose(embed_images(again, images), first, atol=TOLERANCE)
    with torch.no_grad():
        network.layernorm.weight.mul_(-1)
    network.save_pretrained(folder)
    _with("onnxruntime", config).dedup_encoder.load()
    assert len(set(derived.glob("*")) - before) == 2


def test_graph__a_network_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"^model odd cannot be exported to ONNX .*cpu_backend: torch") as raised:
        write_graph(
            network,
            lambda images: torch.linalg.eigvals(images[..., 0].float()),
            (4, 4),
            tmp_path / "graph",
            model="odd",
        )
    assert "\n" not in str(raised.value)


def test_openvino__not_installed_is_said_before_any_work(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"data-miner-dagster\[openvino\]"):
        _with("openvino", tiny_config("clip", folders["clip"])).check_available()


def test_openvino__reports_to_nobody(monkeypatch: pytest.MonkeyPatch, images: list[RgbImage], tmp_path: Path) -> None:
    sender = importlib.import_module("openvino_telemetry.utils.sender")
    sent: list[object] = []
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "cache"))  # forces a new graph
    monkeypatch.setattr(sender.TelemetrySender, "send", lambda _self, *message: sent.append(message))
    config = tiny_config("dinov2", save_tiny("dinov2", tmp_path / "network"))
    embed_images(_with("openvino", config).dedup_encoder.load(), images)
    assert sent == []
