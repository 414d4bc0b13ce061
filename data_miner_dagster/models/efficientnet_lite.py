"""EfficientNet-Lite0 from its ImageNet checkpoint: pooled features and class logits.

Belongs here: the network. Does not belong here: what features or logits are used for (lite_encoders.py).
Batch norm is folded into the convolutions while loading.

Source: Tan and Le 2019, "EfficientNet"; tensorflow/tpu `efficientnet_lite_builder.py` (no squeeze-and-excite, ReLU6,
fixed stem and head; TensorFlow's SAME padding, which is uneven for stride 2).
"""

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array, RgbImage

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE_NAME: Final = "efficientnet-lite0.pth"
INPUT_SIDE: Final = 224
NUM_FEATURES: Final = 1280
NUM_CLASSES: Final = 1000
MAX_FORWARD_IMAGES: Final = 16
"""Images per forward pass inside one call: more does not run faster on a CPU and only takes memory."""

_BATCH_NORM_EPSILON: Final = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    out_channels: int


_STEM_CHANNELS: Final = 32
_STAGES: Final = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class _Block(NamedTuple):
    kernel: int
    stride: int
    expansion: int
    has_shortcut: bool


def _blocks() -> list[_Block]:
    blocks, channels = [], _STEM_CHANNELS
    for stage in _STAGES:
        for repeat in range(stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            has_shortcut = stride == 1 and channels == stage.out_channels
            blocks.append(_Block(stage.kernel, stride, stage.expansion, has_shortcut))
            channels = stage.out_channels
    return blocks


_BLOCKS: Final = tuple(_blocks())


def squash(image: RgbImage) -> RgbImage:
    """Return the whole image resized to (224, 224, 3), its shape not kept: nothing at the edges is cut off."""
    if image.shape[:2] == (INPUT_SIDE, INPUT_SIDE):
        return image
    shrinks = image.shape[0] > INPUT_SIDE or image.shape[1] > INPUT_SIDE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (INPUT_SIDE, INPUT_SIDE), interpolation=interpolation), np.uint8)


class EfficientNetLite0:
    """The network, loaded. Deterministic."""

    def __init__(self, parameters: "dict[str, tuple[torch.Tensor, torch.Tensor]]", device: str) -> None:
        self.device = device
        self._parameters = {name: (weight.to(device), bias.to(device)) for name, (weight, bias) in parameters.items()}

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "EfficientNetLite0":
        """Read `efficientnet-lite0.pth` from a folder.

        Raises:
            ModelError: the file is missing or is not this network's.
        """
        return cls(_read_parameters(folder / WEIGHTS_FILE_NAME), device)

    def features_and_logits(self, batch: npt.NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
        """Return (features (N, 1280), logits (N, 1000)) of (N, 224, 224, 3) uint8; N may be 0."""
        import torch

        features = np.zeros((len(batch), NUM_FEATURES), np.float32)
        logits = np.zeros((len(batch), NUM_CLASSES), np.float32)
        with torch.inference_mode():
            for start in range(0, len(batch), MAX_FORWARD_IMAGES):
                part = slice(start, start + MAX_FORWARD_IMAGES)
                pixels = torch.from_numpy(np.ascontiguousarray(batch[part])).to(self.device)
                # NHWC memory under an NCHW view is channels_last, which the CPU's convolutions prefer.
                part_features, part_logits = self.forward(pixels.permute(0, 3, 1, 2).float().sub_(127).div_(128))
                features[part] = part_features.cpu().numpy()
                logits[part] = part_logits.cpu().numpy()
        return features, logits

    def forward(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Return (features, logits) as tensors for (N, 3, 224, 224) pixels in about -1..1."""
        from torch.nn import functional

        def convolve(name: str, inputs: "torch.Tensor", *, stride: int = 1, groups: int = 1) -> "torch.Tensor":
            weight, bias = self._parameters[name]
            kernel = weight.shape[-1]
            if stride == 1:
                return functional.conv2d(inputs, weight, bias, padding=kernel // 2, groups=groups)
            total = kernel - stride  # SAME padding of an even side, the greater half to the right and below
            before = total // 2
            padded = functional.pad(inputs, (before, total - before, before, total - before))
            return functional.conv2d(padded, weight, bias, stride=stride, groups=groups)

        outputs = functional.relu6(convolve("_conv_stem", pixels, stride=2))
        for index, block in enumerate(_BLOCKS):
            inputs = outputs
            if block.expansion > 1:
                outputs = functional.relu6(convolve(f"_blocks.{index}._expand_conv", outputs))
            groups = outputs.shape[1]
            outputs = convolve(f"_blocks.{index}._depthwise_conv", outputs, stride=block.stride, groups=groups)
            outputs = convolve(f"_blocks.{index}._project_conv", functional.relu6(outputs))
            if block.has_shortcut:
                outputs = outputs + inputs
        features = functional.relu6(convolve("_conv_head", outputs)).mean(dim=(2, 3))
        return features, functional.linear(features, *self._parameters["_fc"])


def _batch_norm_by_convolution() -> dict[str, str]:
    names = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    for index, block in enumerate(_BLOCKS):
        prefix = f"_blocks.{index}."
        if block.expansion > 1:
            names[f"{prefix}_expand_conv"] = f"{prefix}_bn0"
        names[f"{prefix}_depthwise_conv"] = f"{prefix}_bn1"
        names[f"{prefix}_project_conv"] = f"{prefix}_bn2"
    return names


def _read_parameters(path: Path) -> "dict[str, tuple[torch.Tensor, torch.Tensor]]":
    """Return (weight, bias) by name of layer, batch norm folded in."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; `data-miner models fetch --profile lite` puts it there") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(f"{path} is not a checkpoint of tensors; remove its folder and fetch it again") from error
    parameters = {}
    try:
        for name, batch_norm in _batch_norm_by_convolution().items():
            factor = state[f"{batch_norm}.weight"] / torch.sqrt(
                state[f"{batch_norm}.running_var"] + _BATCH_NORM_EPSILON
            )
            weight = state[f"{name}.weight"] * factor.reshape(-1, 1, 1, 1)
            bias = state[f"{batch_norm}.bias"] - state[f"{batch_norm}.running_mean"] * factor
            parameters[name] = (weight.contiguous(memory_format=torch.channels_last), bias)
        parameters["_fc"] = (state["_fc.weight"], state["_fc.bias"])
    except KeyError as error:
        raise ModelError(f"{path} lacks {error}: it is not EfficientNet-Lite0") from error
    return parameters
