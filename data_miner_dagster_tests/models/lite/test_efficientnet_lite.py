"""Compare the ONNX graph, with random weights, with the same network written in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.lite import efficientnet_lite
from data_miner_dagster.models.lite.efficientnet_lite import WEIGHTS_FILE_NAME, EfficientNetLite0, squash

TOLERANCE = 1e-4
"""The largest difference allowed between ONNX Runtime and torch, relative to the largest value; 1e-5 was measured."""


def _random_state() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, batch_norm: str, out_channels: int, in_channels: int, kernel: int) -> None:
        fan = in_channels * kernel * kernel
        state[f"{name}.weight"] = torch.randn(out_channels, in_channels, kernel, kernel, generator=random) / fan**0.5
        for part, low in (("weight", 0.8), ("bias", -0.2), ("running_mean", -0.2), ("running_var", 0.5)):
            state[f"{batch_norm}.{part}"] = torch.rand(out_channels, generator=random) * 0.4 + low

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    channels, index = 32, 0
    # repeats, kernel, expansion, channels: table 1 of the EfficientNet paper
    for repeats, kernel, expansion, out_channels in (
        (1, 3, 1, 16),
        (2, 3, 6, 24),
        (2, 5, 6, 40),
        (3, 3, 6, 80),
        (3, 5, 6, 112),
        (4, 5, 6, 192),
        (1, 3, 6, 320),
    ):
        for _ in range(repeats):
            prefix, wide = f"_blocks.{index}.", channels * expansion
            if expansion > 1:
                convolution(f"{prefix}_expand_conv", f"{prefix}_bn0", wide, channels, 1)
            convolution(f"{prefix}_depthwise_conv", f"{prefix}_bn1", wide, 1, kernel)
            convolution(f"{prefix}_project_conv", f"{prefix}_bn2", out_channels, wide, 1)
            channels, index = out_channels, index + 1
    convolution("_conv_head", "_bn1", 1280, 320, 1)
    state["_fc.weight"] = torch.randn(1000, 1280, generator=random) / 36
    state["_fc.bias"] = torch.randn(1000, generator=random)
    return state


def _torch_forward(
    state: dict[str, torch.Tensor], batch: "np.typing.NDArray[np.uint8]"
) -> tuple[torch.Tensor, torch.Tensor]:
    def layer(values: torch.Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        total = weight.shape[-1] - stride
        values = functional.pad(values, (total // 2, total - total // 2) * 2)
        values = functional.conv2d(values, weight, stride=stride, groups=groups)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return functional.batch_norm(values, mean, variance, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)

    values = (torch.from_numpy(batch).permute(0, 3, 1, 2).float() - 127) / 128
    values = functional.relu6(layer(values, "_conv_stem", "_bn0", 2))
    strided = {1, 3, 5, 11}  # the first block of each stage that has stride 2
    for index in range(16):
        prefix, before = f"_blocks.{index}.", values
        if f"{prefix}_expand_conv.weight" in state:
            values = functional.relu6(layer(values, f"{prefix}_expand_conv", f"{prefix}_bn0"))
        stride = 2 if index in strided else 1
        values = layer(values, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride, values.shape[1])
        values = layer(functional.relu6(values), f"{prefix}_project_conv", f"{prefix}_bn2")
        if values.shape == before.shape:
            values = values + before
    features = functional.relu6(layer(values, "_conv_head", "_bn1")).mean(dim=(2, 3))
    return features, functional.linear(features, state["_fc.weight"], state["_fc.bias"])


def test_features_and_logits__equal_torch_and_keep_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "cache"))
    state = _random_state()
    torch.save(state, tmp_path / WEIGHTS_FILE_NAME)
    batch = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    features, logits = EfficientNetLite0.load(tmp_path).features_and_logits(batch)
    with torch.inference_mode():
        for ours, theirs in zip((features, logits), _torch_forward(state, batch), strict=True):
            expected = theirs.numpy()
            np.testing.assert_allclose(ours, expected, atol=TOLERANCE * np.abs(expected).max())

    def no_second_time(_path: Path) -> None:
        raise AssertionError("the graph was kept and need not be built again")

    monkeypatch.setattr(efficientnet_lite, "read_parameters", no_second_time)
    np.testing.assert_array_equal(EfficientNetLite0.load(tmp_path).features_and_logits(batch)[0], features)


def test_load__missing_foreign_and_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match="models fetch --profile lite"):
        EfficientNetLite0.load(tmp_path)
    torch.save({"weight": torch.zeros(2)}, tmp_path / WEIGHTS_FILE_NAME)
    with pytest.raises(ModelError, match="does not contain EfficientNet-Lite0"):
        EfficientNetLite0.load(tmp_path)
    (tmp_path / WEIGHTS_FILE_NAME).write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="not a PyTorch checkpoint"):
        EfficientNetLite0.load(tmp_path)
    assert not list((tmp_path / "cache" / "derived").glob("*"))


def test_squash__any_size() -> None:
    assert squash(np.zeros((1, 1, 3), np.uint8)).shape == (224, 224, 3)
    assert squash(np.full((900, 300, 3), 9, np.uint8)).mean() == 9
