"""YOLOv3-tiny from Darknet's own files: letterboxing, reading the weights, running the network.

Belongs here: computing boxes and class confidences from `yolov3-tiny.weights` and `coco.names`. Does not belong here:
selecting the requested classes (models/lite/lite_detector.py), fetching the files (models/packages.py).
Weights are read with numpy, so nothing is unpickled. Batch norm is folded into the convolutions while reading.

Source: Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement"; Darknet's `src/parser.c` (order of the weights).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.lite.darknet_onnx import CONVOLUTIONS, INPUT_SIDE, NUM_CLASSES, build_model
from data_miner_dagster.models.onnx_sessions import open_session

if TYPE_CHECKING:
    import onnx

WEIGHTS_FILE_NAME: Final = "yolov3-tiny.weights"
NAMES_FILE_NAME: Final = "coco.names"

PAD_VALUE: Final = 114
"""Grey value of the border around a letterboxed image."""
MAX_FORWARD_IMAGES: Final = 8
"""The maximum number of images per forward pass. Larger batches are not faster on a CPU, but take more memory."""

_BATCH_NORM_EPSILON: Final = 1e-6  # Darknet's normalize_cpu: (x - mean) / (sqrt(variance) + 1e-6)


class Letterboxed(NamedTuple):
    """An image scaled to fit a square. A point `p` of the image is at `p * scale + pad` in the square."""

    image: RgbImage  # (side, side, 3)
    scale: float
    pad_xy: tuple[int, int]


def letterbox(image: RgbImage, side: int = INPUT_SIDE) -> Letterboxed:
    """Scale the image to fit a square of `side` pixels, keep its aspect ratio, and centre it on grey. Thread-safe."""
    height, width = image.shape[:2]
    scale = min(side / height, side / width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    resized = image
    if (new_width, new_height) != (width, height):
        resized = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    left, top = (side - new_width) // 2, (side - new_height) // 2
    square = np.full((side, side, 3), PAD_VALUE, np.uint8)
    square[top : top + new_height, left : left + new_width] = resized
    return Letterboxed(square, scale, (left, top))


def unletterbox_boxes(
    boxes_xyxy: Float32Array, scale: float, pad_xy: tuple[int, int], image_wh: tuple[int, int]
) -> Float32Array:
    """Convert boxes from the letterboxed square to the original image, and clip them to it.

    Args:
        boxes_xyxy: (N, 4) in pixels of the square.
        scale: the scale that `letterbox` returned.
        pad_xy: the padding that `letterbox` returned.
        image_wh: width and height of the original image.
    """
    moved = (boxes_xyxy - np.array([*pad_xy, *pad_xy], np.float32)) / np.float32(scale)
    limits = np.array([*image_wh, *image_wh], np.float32)
    clipped: Float32Array = np.clip(moved, np.float32(0), limits).astype(np.float32)
    return clipped


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Return the 80 class names, in the order of the network's outputs.

    Raises:
        ModelError: the file is missing or has the wrong number of names.
    """
    path = folder / NAMES_FILE_NAME
    try:
        names = tuple(path.read_text(encoding="utf-8").split("\n"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; add this file, or use the model lite-yolov3-tiny") from error
    names = tuple(name.strip() for name in names if name.strip())
    if len(names) != NUM_CLASSES:
        raise ModelError(
            f"{path} has {counted(len(names), 'name')} instead of {NUM_CLASSES}; replace it with Darknet's own file, "
            "or use the model lite-yolov3-tiny"
        )
    return names


class YoloV3Tiny:
    """The network, loaded into ONNX Runtime on the CPU. Its results are deterministic."""

    def __init__(self, class_names: Sequence[str], model: "onnx.ModelProto") -> None:
        self.class_names = tuple(class_names)
        self._session = open_session(model.SerializeToString())

    @classmethod
    def load(cls, folder: Path) -> "YoloV3Tiny":
        """Read `yolov3-tiny.weights` and `coco.names` from a folder.

        Raises:
            ModelError: a file is missing or invalid.
        """
        return cls(read_class_names(folder), read_model(folder))

    def boxes_and_confidences(self, batch: npt.NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
        """Return all candidate boxes of letterboxed images, before any suppression.

        Args:
            batch: (N, 416, 416, 3) uint8; N may be 0.

        Returns:
            The corners (N, 2535, 4) of the boxes in pixels of the square, and the confidences (N, 2535, 80), which are
            objectness times class probability.
        """
        parts = [
            self._forward(batch[start : start + MAX_FORWARD_IMAGES])
            for start in range(0, max(1, len(batch)), MAX_FORWARD_IMAGES)
        ]
        centres_and_sizes, confidences = np.split(np.concatenate(parts).transpose(0, 2, 1), [4], axis=2)
        centres, halves = centres_and_sizes[..., :2], centres_and_sizes[..., 2:] / 2
        return np.concatenate([centres - halves, centres + halves], axis=2), confidences

    def class_confidences(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return an (N, 80) array with the highest confidence of any box, for each letterboxed image and class."""
        best: Float32Array = self.boxes_and_confidences(batch)[1].max(axis=1)
        return best

    def _forward(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        pixels = np.multiply(batch.transpose(0, 3, 1, 2), np.float32(1 / 255), dtype=np.float32, order="C")
        (output,) = self._session.run(None, {"images": pixels})
        return np.asarray(output, np.float32)


def read_model(folder: Path) -> "onnx.ModelProto":
    """Read `yolov3-tiny.weights` and `coco.names` from a folder, and return the network as an ONNX model.

    Ultralytics can run the file that `onnx.save` writes, since names, task and size are in its metadata.

    Raises:
        ModelError: a file is missing or invalid.
    """
    names = read_class_names(folder)
    metadata = {
        "names": str(dict(enumerate(names))),
        "task": "detect",
        "imgsz": str([INPUT_SIDE, INPUT_SIDE]),
        "stride": "32",
        "batch": "1",
    }
    return build_model(read_parameters(folder / WEIGHTS_FILE_NAME), metadata)


def read_parameters(path: Path) -> list[tuple[Float32Array, Float32Array]]:
    """Return the weight (out, in, side, side) and the bias (out,) of each convolution, with batch norm folded in.

    The file contains three int32 for the version, one int64 for the number of images seen, and then float32 values. For
    each convolution, these are its bias, its scale, mean and variance (if it has batch norm), and its weights.

    Raises:
        ModelError: the file is missing or has the wrong size.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; add this file, or use the model lite-yolov3-tiny") from error
    expected = 20 + 4 * sum(
        c.out_channels * (c.in_channels * c.side**2 + (4 if c.has_batch_norm else 1)) for c in CONVOLUTIONS
    )
    if len(content) != expected:
        raise ModelError(
            f"{path} has {counted(len(content), 'byte')} instead of {expected:,}; replace it with Darknet's own file, "
            "or use the model lite-yolov3-tiny"
        )
    values = content[20:].view(np.float32)
    position = 0

    def take(count: int) -> npt.NDArray[np.float64]:
        nonlocal position
        position += count
        return values[position - count : position].astype(np.float64)

    parameters = []
    for convolution in CONVOLUTIONS:
        out_channels, in_channels, side = convolution.out_channels, convolution.in_channels, convolution.side
        bias = take(out_channels)
        factor = np.ones(out_channels)
        if convolution.has_batch_norm:
            scale, mean, variance = take(out_channels), take(out_channels), take(out_channels)
            factor = scale / (np.sqrt(variance) + _BATCH_NORM_EPSILON)
            bias = bias - mean * factor
        weight = take(out_channels * in_channels * side * side).reshape(out_channels, in_channels, side, side)
        parameters.append(((weight * factor[:, None, None, None]).astype(np.float32), bias.astype(np.float32)))
    return parameters
