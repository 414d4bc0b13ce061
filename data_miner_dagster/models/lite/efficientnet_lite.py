"""EfficientNet-Lite0 from its ImageNet checkpoint: pooled features and class logits.

Belongs here: the network. Does not belong here: the use of features and logits (lite_encoders.py).
Batch norm is folded into the convolutions. The graph is written node by node, so it needs no exporter. It is stored in
the model cache, so only the process that creates it imports torch. docs/models.md compares speeds.

Source: Tan and Le 2019, "EfficientNet"; tensorflow/tpu `efficientnet_lite_builder` (no squeeze-and-excite, ReLU6,
fixed stem and head; TensorFlow's SAME padding, which is uneven for stride 2).
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.derived import derived_file
from data_miner_dagster.models.onnx_sessions import Graph, open_session

if TYPE_CHECKING:
    import onnx

WEIGHTS_FILE_NAME: Final = "efficientnet-lite0.pth"
INPUT_SIDE: Final = 224
NUM_FEATURES: Final = 1280
NUM_CLASSES: Final = 1000
MAX_FORWARD_IMAGES: Final = 8
"""The maximum number of images per forward pass. Larger batches are not faster on a CPU, but take more memory."""

_BATCH_NORM_EPSILON: Final = 1e-3
_MEAN: Final = np.array(127, np.float32)
_STD: Final = np.array(128, np.float32)
_GRAPH_VERSION: Final = 1  # increment it when the same weights result in a different graph


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
    """Return the whole image resized to (224, 224, 3). The aspect ratio is not kept, so that no edge is cut off."""
    if image.shape[:2] == (INPUT_SIDE, INPUT_SIDE):
        return image
    shrinks = image.shape[0] > INPUT_SIDE or image.shape[1] > INPUT_SIDE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (INPUT_SIDE, INPUT_SIDE), interpolation=interpolation), np.uint8)


class EfficientNetLite0:
    """The network, loaded into ONNX Runtime on the CPU. Its results are deterministic."""

    def __init__(self, model: Path) -> None:
        self._session = open_session(model)

    @classmethod
    def load(cls, folder: Path) -> "EfficientNetLite0":
        """Read `efficientnet-lite0.pth` from a folder. The first call writes its graph to the model cache.

        Raises:
            ModelError: the file is missing or does not belong to this network.
            OSError: the model cache cannot be written.
        """
        path = folder / WEIGHTS_FILE_NAME
        if not path.is_file():
            raise ModelError(f"{path} is missing; fetch it with `data-miner models fetch --profile lite`")
        fingerprint = fingerprint_of({"weights": sha256_of_file(path), "graph": _GRAPH_VERSION})
        return cls(derived_file("efficientnet-lite0.onnx", fingerprint, lambda target: _write_model(path, target)))

    def features_and_logits(self, batch: npt.NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
        """Return the features (N, 1280) and the logits (N, 1000) of an (N, 224, 224, 3) uint8 batch; N may be 0."""
        features = np.zeros((len(batch), NUM_FEATURES), np.float32)
        logits = np.zeros((len(batch), NUM_CLASSES), np.float32)
        for start in range(0, len(batch), MAX_FORWARD_IMAGES):
            part = slice(start, start + MAX_FORWARD_IMAGES)
            features[part], logits[part] = self._session.run(["features", "logits"], {"images": batch[part]})
        return features, logits


def _write_model(weights: Path, target: Path) -> None:
    import onnx

    onnx.save(build_model(read_parameters(weights)), target)


def build_model(parameters: Mapping[str, tuple[Float32Array, Float32Array]]) -> "onnx.ModelProto":
    """Return the network as ONNX. It maps `images` (N, 224, 224, 3) uint8 RGB to `features` and `logits`.

    The shapes of the outputs are (N, 1280) and (N, 1000), in float32.

    Args:
        parameters: (weight, bias) by layer name, with batch norm folded in.
    """
    from onnx import TensorProto, helper

    graph = Graph()
    zero, six = graph.constant(np.array(0, np.float32)), graph.constant(np.array(6, np.float32))

    def convolve(name: str, inputs: str, *, stride: int = 1, groups: int = 1) -> str:
        weight, bias = parameters[name]
        kernel = weight.shape[-1]
        # SAME padding: with stride 2 and an even side, the larger half is on the right and at the bottom.
        total = kernel - stride
        before, after = total // 2, total - total // 2
        return graph.node(
            "Conv",
            inputs,
            graph.constant(weight),
            graph.constant(bias),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=groups,
        )

    def relu6(inputs: str) -> str:
        return graph.node("Clip", inputs, zero, six)

    floats = graph.node("Cast", "images", to=TensorProto.FLOAT)
    centred = graph.node("Div", graph.node("Sub", floats, graph.constant(_MEAN)), graph.constant(_STD))
    outputs = relu6(convolve("_conv_stem", graph.node("Transpose", centred, perm=[0, 3, 1, 2]), stride=2))
    for index, block in enumerate(_BLOCKS):
        inputs = outputs
        if block.expansion > 1:
            outputs = relu6(convolve(f"_blocks.{index}._expand_conv", outputs))
        depthwise = f"_blocks.{index}._depthwise_conv"
        outputs = relu6(convolve(depthwise, outputs, stride=block.stride, groups=len(parameters[depthwise][0])))
        outputs = convolve(f"_blocks.{index}._project_conv", outputs)
        if block.has_shortcut:
            outputs = graph.node("Add", outputs, inputs)
    pooled = graph.node("GlobalAveragePool", relu6(convolve("_conv_head", outputs)))
    graph.named_node("Flatten", (pooled,), "features")
    weight, bias = parameters["_fc"]
    graph.named_node("Gemm", ("features", graph.constant(weight), graph.constant(bias)), "logits", transB=1)
    proto = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", INPUT_SIDE, INPUT_SIDE, 3])],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", NUM_FEATURES]),
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", NUM_CLASSES]),
        ],
        graph.constants,
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _batch_norm_by_convolution() -> dict[str, str]:
    names = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    for index, block in enumerate(_BLOCKS):
        prefix = f"_blocks.{index}."
        if block.expansion > 1:
            names[f"{prefix}_expand_conv"] = f"{prefix}_bn0"
        names[f"{prefix}_depthwise_conv"] = f"{prefix}_bn1"
        names[f"{prefix}_project_conv"] = f"{prefix}_bn2"
    return names


def read_parameters(path: Path) -> dict[str, tuple[Float32Array, Float32Array]]:
    """Return the weight and the bias of each layer, by the layer's name, with batch norm folded in.

    Raises:
        ModelError: the file is not a checkpoint of this network.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(
            f"{path} is not a PyTorch checkpoint that contains only tensors; remove its folder, and fetch it again "
            "with `data-miner models fetch --profile lite`"
        ) from error
    parameters = {}
    try:
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        for name, batch_norm in _batch_norm_by_convolution().items():
            factor = arrays[f"{batch_norm}.weight"] / np.sqrt(
                arrays[f"{batch_norm}.running_var"] + np.float32(_BATCH_NORM_EPSILON)
            )
            weight = arrays[f"{name}.weight"] * factor.reshape(-1, 1, 1, 1)
            bias = arrays[f"{batch_norm}.bias"] - arrays[f"{batch_norm}.running_mean"] * factor
            parameters[name] = (weight, bias)
        parameters["_fc"] = (arrays["_fc.weight"], arrays["_fc.bias"])
    except KeyError as error:
        raise ModelError(
            f"{path} does not contain EfficientNet-Lite0, since it lacks {error}; remove its folder, and fetch it "
            "again with `data-miner models fetch --profile lite`"
        ) from error
    return parameters
