"""YOLOv3-tiny as an ONNX model, in the output layout of Ultralytics' exports.

Belongs here: the graph. Does not belong here: reading Darknet's files (models/lite/darknet.py).
The graph is written node by node, so it needs no exporter, and the same file runs in ONNX Runtime and in Ultralytics.
On two cores ONNX Runtime needs 52 ms of CPU time per image, and torch 73 to 85 ms (docs/detection.md).

Source: Darknet's `cfg/yolov3-tiny.cfg` and `src/yolo_layer.c`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.onnx_sessions import Graph

if TYPE_CHECKING:
    import onnx

INPUT_SIDE: Final = 416
NUM_CLASSES: Final = 80
NUM_BOXES: Final = 3 * (13 * 13 + 26 * 26)
"""Candidate boxes per image: three anchors in each cell of both heads."""
INPUT_NAME: Final = "images"
OUTPUT_NAME: Final = "output0"

_LEAKY_SLOPE: Final = 0.1
_COARSE_ANCHORS_WH: Final = ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0))
# The cfg file published with the weights says `mask = 0,1,2` for this head, but the weights were trained with 1,2,3:
# with 0,1,2, boxes are half the size of the people in ultralytics' bus.jpg, and with 1,2,3 they fit.
_FINE_ANCHORS_WH: Final = ((23.0, 27.0), (37.0, 58.0), (81.0, 82.0))


class Convolution(NamedTuple):
    """The shape of one convolution. The heads have no batch norm and are linear."""

    in_channels: int
    out_channels: int
    side: int
    has_batch_norm: bool


_HEAD_CHANNELS: Final = 3 * (5 + NUM_CLASSES)
CONVOLUTIONS: Final = (
    Convolution(3, 16, 3, True),
    Convolution(16, 32, 3, True),
    Convolution(32, 64, 3, True),
    Convolution(64, 128, 3, True),
    Convolution(128, 256, 3, True),
    Convolution(256, 512, 3, True),
    Convolution(512, 1024, 3, True),
    Convolution(1024, 256, 1, True),
    Convolution(256, 512, 3, True),
    Convolution(512, _HEAD_CHANNELS, 1, False),
    Convolution(256, 128, 1, True),
    Convolution(384, 256, 3, True),
    Convolution(256, _HEAD_CHANNELS, 1, False),
)
"""The convolutions in the order of the cfg file, which is also the order of the weights."""


def build_model(
    parameters: Sequence[tuple[Float32Array, Float32Array]], metadata: Mapping[str, str]
) -> "onnx.ModelProto":
    """Return a model that maps `images` (N, 3, 416, 416), float32 RGB in 0..1, to `output0` (N, 84, 2535).

    The 84 rows of the output are the centre (x, y), width and height in pixels of the input, followed by 80
    confidences: objectness times class probability.

    Args:
        parameters: (weight, bias) of each of `CONVOLUTIONS`, with batch norm folded in.
        metadata: metadata to store in the file (Ultralytics reads `names`, `task`, `imgsz`, `stride`).
    """
    from onnx import TensorProto, helper

    graph = Graph()
    coarse, fine = _heads(graph, parameters)
    candidates = [_candidates(graph, coarse, 13), _candidates(graph, fine, 26)]
    decoded = _decode(graph, graph.node("Concat", *candidates, axis=1))
    graph.nodes.append(helper.make_node("Transpose", [decoded], [OUTPUT_NAME], perm=[0, 2, 1]))
    proto = helper.make_graph(
        graph.nodes,
        "yolov3-tiny",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["batch", 3, INPUT_SIDE, INPUT_SIDE])],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", 4 + NUM_CLASSES, NUM_BOXES])],
        graph.constants,
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, dict(metadata))
    return model


def _heads(graph: Graph, parameters: Sequence[tuple[Float32Array, Float32Array]]) -> tuple[str, str]:
    """Add the network's nodes, and return the names of its raw outputs (N, 255, 13, 13) and (N, 255, 26, 26)."""
    convolve = partial(_convolve, graph, parameters)
    pool = partial(_pool, graph)
    features = INPUT_NAME
    for index in range(4):
        features = pool(convolve(index, features), 2)
    shallow = convolve(4, features)
    features = pool(convolve(5, pool(shallow, 2)), 1)
    deep = convolve(7, convolve(6, features))
    coarse = convolve(9, convolve(8, deep))
    raised = graph.node(
        "Resize",
        convolve(10, deep),
        "",
        graph.constant(np.array([1, 1, 2, 2], np.float32)),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return coarse, convolve(12, convolve(11, graph.node("Concat", raised, shallow, axis=1)))


def _convolve(graph: Graph, parameters: Sequence[tuple[Float32Array, Float32Array]], index: int, source: str) -> str:
    weight, bias = parameters[index]
    side = CONVOLUTIONS[index].side
    out = graph.node(
        "Conv",
        source,
        graph.constant(weight),
        graph.constant(bias),
        kernel_shape=[side, side],
        pads=[side // 2] * 4,
    )
    return graph.node("LeakyRelu", out, alpha=_LEAKY_SLOPE) if CONVOLUTIONS[index].has_batch_norm else out


def _pool(graph: Graph, source: str, stride: int) -> str:
    # Darknet's stride-1 pool extends right and down; values outside count as minus infinity, as in ONNX.
    pads = [0, 0, 0, 0] if stride == 2 else [0, 0, 1, 1]
    return graph.node("MaxPool", source, kernel_shape=[2, 2], strides=[stride, stride], pads=pads)


def _candidates(graph: Graph, head: str, side: int) -> str:
    """Add nodes that reshape (N, 255, S, S) to (N, 3 * S * S, 85), and return the name of their output.

    The result is ordered by anchor, then by row of cells.
    """
    per_anchor = graph.node("Reshape", head, graph.constant(np.array([0, 3, 5 + NUM_CLASSES, side * side])))
    last = graph.node("Transpose", per_anchor, perm=[0, 1, 3, 2])
    return graph.node("Reshape", last, graph.constant(np.array([0, 3 * side * side, 5 + NUM_CLASSES])))


def _decode(graph: Graph, candidates: str) -> str:
    """Add nodes that convert raw outputs (N, 2535, 85), and return the name of their output (N, 2535, 84).

    The result contains the centre and size in pixels of the input, and the confidences.
    """
    centres, sizes, objectness, classes = graph.split_last(candidates, [2, 2, 1, NUM_CLASSES])
    corners, strides, anchors = [], [], []
    for side, anchors_wh in ((13, _COARSE_ANCHORS_WH), (26, _FINE_ANCHORS_WH)):
        rows, columns = np.divmod(np.arange(side * side), side)
        corners.append(np.tile(np.stack([columns, rows], axis=1), (3, 1)))
        strides.append(np.full((3 * side * side, 1), INPUT_SIDE // side))
        anchors.append(np.repeat(np.array(anchors_wh), side * side, axis=0))
    cell = graph.node("Add", graph.node("Sigmoid", centres), graph.constant(_float32(np.concatenate(corners))))
    centre = graph.node("Mul", cell, graph.constant(_float32(np.concatenate(strides))))
    size = graph.node("Mul", graph.node("Exp", sizes), graph.constant(_float32(np.concatenate(anchors))))
    confidences = graph.node("Mul", graph.node("Sigmoid", objectness), graph.node("Sigmoid", classes))
    return graph.node("Concat", centre, size, confidences, axis=-1)


def _float32(values: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> Float32Array:
    return values.astype(np.float32)[None]
