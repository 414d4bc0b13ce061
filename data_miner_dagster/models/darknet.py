"""YOLOv3-tiny from Darknet's own files: network, letterboxing, decoding of its two heads.

Belongs here: what turns `yolov3-tiny.weights` and `coco.names` into boxes and class confidences. Does not belong here:
which classes a user asked for (models/lite_detector.py), or where the files come from (models/packages.py).
Weights are read with numpy: nothing is unpickled. Batch norm is folded into the convolutions while loading.

Source: Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement"; Darknet's `cfg/yolov3-tiny.cfg`,
`src/parser.c` (order of the weights) and `src/yolo_layer.c` (decoding).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array, RgbImage

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE_NAME: Final = "yolov3-tiny.weights"
WEIGHTS_SHA256: Final = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"
NAMES_FILE_NAME: Final = "coco.names"
NAMES_SHA256: Final = "33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933"

INPUT_SIDE: Final = 416
NUM_CLASSES: Final = 80
NUM_BOXES: Final = 3 * (13 * 13 + 26 * 26)
"""Candidate boxes of one image: three anchors in each cell of both heads."""
PAD_VALUE: Final = 114
"""Grey around a letterboxed image."""
MAX_FORWARD_IMAGES: Final = 8
"""Images per forward pass inside one call: more does not run faster on a CPU and only takes memory."""

_BATCH_NORM_EPSILON: Final = 1e-6  # Darknet's normalize_cpu: (x - mean) / (sqrt(variance) + 1e-6)
_LEAKY_SLOPE: Final = 0.1
_COARSE_ANCHORS_WH: Final = ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0))
# The cfg file published beside the weights says `mask = 0,1,2` for this head, but the weights were trained with 1,2,3:
# with the former its boxes come out at half the size of the people in ultralytics' bus.jpg, with the latter they fit.
_FINE_ANCHORS_WH: Final = ((23.0, 27.0), (37.0, 58.0), (81.0, 82.0))


class _Convolution(NamedTuple):
    in_channels: int
    out_channels: int
    side: int
    has_batch_norm: bool


_HEAD_CHANNELS: Final = 3 * (5 + NUM_CLASSES)
# In the order of the cfg file, which is the order of the weights.
_CONVOLUTIONS: Final = (
    _Convolution(3, 16, 3, True),
    _Convolution(16, 32, 3, True),
    _Convolution(32, 64, 3, True),
    _Convolution(64, 128, 3, True),
    _Convolution(128, 256, 3, True),
    _Convolution(256, 512, 3, True),
    _Convolution(512, 1024, 3, True),
    _Convolution(1024, 256, 1, True),
    _Convolution(256, 512, 3, True),
    _Convolution(512, _HEAD_CHANNELS, 1, False),
    _Convolution(256, 128, 1, True),
    _Convolution(384, 256, 3, True),
    _Convolution(256, _HEAD_CHANNELS, 1, False),
)


class Letterboxed(NamedTuple):
    """An image scaled into a square. A point of the square is `point * scale + pad` of the image."""

    image: RgbImage  # (side, side, 3)
    scale: float
    pad_xy: tuple[int, int]


def letterbox(image: RgbImage, side: int = INPUT_SIDE) -> Letterboxed:
    """Return the image scaled to fit a square of `side` pixels, its shape kept, centred on grey. Thread-safe."""
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
    """Return boxes of the square as boxes of the image it was made from, clipped to it.

    Args:
        boxes_xyxy: (N, 4) in pixels of the square.
        scale: as `letterbox` returned it.
        pad_xy: as `letterbox` returned it.
        image_wh: width and height of the original image.
    """
    moved = (boxes_xyxy - np.array([*pad_xy, *pad_xy], np.float32)) / np.float32(scale)
    limits = np.array([*image_wh, *image_wh], np.float32)
    clipped: Float32Array = np.clip(moved, np.float32(0), limits).astype(np.float32)
    return clipped


def read_class_names(folder: Path) -> tuple[str, ...]:
    """Return the 80 class names, in the order of the network's outputs.

    Raises:
        ModelError: the file is missing or has another number of names.
    """
    path = folder / NAMES_FILE_NAME
    try:
        names = tuple(path.read_text(encoding="utf-8").split("\n"))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; `data-miner models fetch` puts it there") from error
    names = tuple(name.strip() for name in names if name.strip())
    if len(names) != NUM_CLASSES:
        raise ModelError(f"{path} has {len(names)} names instead of {NUM_CLASSES}; `data-miner models fetch` renews it")
    return names


class YoloV3Tiny:
    """The network, loaded. Deterministic: one image gives the same numbers in every batch of the same size."""

    def __init__(
        self,
        class_names: Sequence[str],
        parameters: "Sequence[tuple[torch.Tensor, torch.Tensor]]",
        device: str,
    ) -> None:
        self.class_names = tuple(class_names)
        self.device = device
        self._parameters = [(weight.to(device), bias.to(device)) for weight, bias in parameters]

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "YoloV3Tiny":
        """Read `yolov3-tiny.weights` and `coco.names` from a folder.

        Raises:
            ModelError: a file is missing or is not what its name says.
        """
        return cls(read_class_names(folder), _read_parameters(folder / WEIGHTS_FILE_NAME), device)

    def boxes_and_confidences(self, batch: npt.NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
        """Return all candidate boxes of letterboxed images, before any suppression.

        Args:
            batch: (N, 416, 416, 3) uint8; N may be 0.

        Returns:
            (boxes_xyxy (N, 2535, 4) in pixels of the square, confidences (N, 2535, 80): objectness times class
            probability).
        """
        import torch

        boxes = np.zeros((len(batch), NUM_BOXES, 4), np.float32)
        confidences = np.zeros((len(batch), NUM_BOXES, NUM_CLASSES), np.float32)
        with torch.inference_mode():
            for start in range(0, len(batch), MAX_FORWARD_IMAGES):
                part = slice(start, start + MAX_FORWARD_IMAGES)
                pixels = torch.from_numpy(np.ascontiguousarray(batch[part])).to(self.device)
                # NHWC memory under an NCHW view is channels_last, which the CPU's convolutions prefer.
                part_boxes, part_confidences = self.forward(pixels.permute(0, 3, 1, 2).float().div_(255))
                boxes[part] = part_boxes.cpu().numpy()
                confidences[part] = part_confidences.cpu().numpy()
        return boxes, confidences

    def class_confidences(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return (N, 80): for each letterboxed image and class, the confidence of its most confident box."""
        if not len(batch):
            return np.zeros((0, NUM_CLASSES), np.float32)
        best = [
            self.boxes_and_confidences(batch[start : start + MAX_FORWARD_IMAGES])[1].max(axis=1)
            for start in range(0, len(batch), MAX_FORWARD_IMAGES)
        ]
        return np.concatenate(best)

    def forward(self, pixels: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Return (boxes_xyxy, confidences) as tensors for (N, 3, 416, 416) pixels in 0..1."""
        import torch
        from torch.nn import functional

        def convolve(index: int, features: torch.Tensor) -> torch.Tensor:
            weight, bias = self._parameters[index]
            out = functional.conv2d(features, weight, bias, padding=_CONVOLUTIONS[index].side // 2)
            return functional.leaky_relu(out, _LEAKY_SLOPE) if _CONVOLUTIONS[index].has_batch_norm else out

        features = pixels
        for index in range(4):
            features = functional.max_pool2d(convolve(index, features), 2)
        shallow = convolve(4, features)
        features = convolve(5, functional.max_pool2d(shallow, 2))
        # Darknet's stride-1 pool looks right and down; what lies outside counts as minus infinity.
        features = functional.max_pool2d(functional.pad(features, (0, 1, 0, 1), value=-torch.inf), 2, stride=1)
        deep = convolve(7, convolve(6, features))
        coarse = convolve(9, convolve(8, deep))
        raised = functional.interpolate(convolve(10, deep), scale_factor=2.0, mode="nearest")
        fine = convolve(12, convolve(11, torch.cat((raised, shallow), dim=1)))
        heads = [_decode_head(coarse, _COARSE_ANCHORS_WH), _decode_head(fine, _FINE_ANCHORS_WH)]
        return torch.cat([boxes for boxes, _ in heads], dim=1), torch.cat([scores for _, scores in heads], dim=1)


def _decode_head(
    output: "torch.Tensor", anchors_wh: Sequence[tuple[float, float]]
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return (boxes_xyxy (N, 3*S*S, 4), confidences (N, 3*S*S, 80)) of one head's (N, 255, S, S)."""
    import torch

    num_images, _, side, _ = output.shape
    stride = INPUT_SIDE / side
    cells = output.reshape(num_images, 3, 5 + NUM_CLASSES, side, side).permute(0, 1, 3, 4, 2)
    steps = torch.arange(side, dtype=output.dtype, device=output.device)
    corners = torch.stack((steps.expand(side, side), steps.reshape(side, 1).expand(side, side)), dim=-1)
    anchors = torch.tensor(anchors_wh, dtype=output.dtype, device=output.device).reshape(1, 3, 1, 1, 2)
    centres = (cells[..., 0:2].sigmoid() + corners) * stride
    halves = cells[..., 2:4].exp() * anchors / 2
    boxes = torch.cat((centres - halves, centres + halves), dim=-1)
    confidences = cells[..., 4:5].sigmoid() * cells[..., 5:].sigmoid()
    return boxes.reshape(num_images, -1, 4), confidences.reshape(num_images, -1, NUM_CLASSES)


def _read_parameters(path: Path) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Return (weight, bias) of each convolution, batch norm folded in.

    The file: three int32 of version, one int64 of images seen, then float32: for a convolution with batch norm its
    bias, scale, mean, variance and weights, for one without its bias and weights.
    """
    import torch

    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; `data-miner models fetch` puts it there") from error
    expected = 20 + 4 * sum(
        c.out_channels * (c.in_channels * c.side**2 + (4 if c.has_batch_norm else 1)) for c in _CONVOLUTIONS
    )
    if len(content) != expected:
        raise ModelError(
            f"{path} has {len(content)} bytes, YOLOv3-tiny has {expected}; `data-miner models fetch` renews it"
        )
    values = content[20:].view(np.float32)
    position = 0

    def take(count: int) -> npt.NDArray[np.float64]:
        nonlocal position
        position += count
        return values[position - count : position].astype(np.float64)

    parameters = []
    for convolution in _CONVOLUTIONS:
        out_channels, in_channels, side = convolution.out_channels, convolution.in_channels, convolution.side
        bias = take(out_channels)
        factor = np.ones(out_channels)
        if convolution.has_batch_norm:
            scale, mean, variance = take(out_channels), take(out_channels), take(out_channels)
            factor = scale / (np.sqrt(variance) + _BATCH_NORM_EPSILON)
            bias = bias - mean * factor
        weight = take(out_channels * in_channels * side * side).reshape(out_channels, in_channels, side, side)
        folded = torch.from_numpy((weight * factor[:, None, None, None]).astype(np.float32))
        parameters.append(
            (folded.contiguous(memory_format=torch.channels_last), torch.from_numpy(bias.astype(np.float32)))
        )
    return parameters
