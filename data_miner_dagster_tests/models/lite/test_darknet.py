import ast
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.lite.darknet import (
    NAMES_FILE_NAME,
    WEIGHTS_FILE_NAME,
    YoloV3Tiny,
    letterbox,
    read_class_names,
    read_model,
    unletterbox_boxes,
)
from data_miner_dagster.models.lite.darknet_onnx import NUM_BOXES
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import YOLOV3_TINY

NUM_WEIGHTS = (35_434_956 - 20) // 4  # the size of the published file


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("darknet")
    # Variances must be positive, so all values are.
    values = np.random.default_rng(0).uniform(0.01, 0.05, NUM_WEIGHTS).astype(np.float32)
    header = np.array([0, 2, 0, 0, 0], np.int32)
    (folder / WEIGHTS_FILE_NAME).write_bytes(header.tobytes() + values.tobytes())
    (folder / NAMES_FILE_NAME).write_text("".join(f"class {index}\n" for index in range(80)))
    return folder


BATCH = np.random.default_rng(1).integers(0, 256, (3, 416, 416, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> YoloV3Tiny:
    return YoloV3Tiny.load(package_folder(YOLOV3_TINY))


def test_letterbox__wide_image() -> None:
    square, scale, pad_xy = letterbox(np.full((104, 208, 3), 7, np.uint8))
    assert square.shape == (416, 416, 3)
    assert (scale, pad_xy) == (2.0, (0, 104))
    assert (square[104:312] == 7).all()
    assert (square[:104] == 114).all()
    assert (square[312:] == 114).all()


def test_letterbox__one_pixel_high() -> None:
    square, _, pad_xy = letterbox(np.full((1, 5000, 3), 7, np.uint8))
    assert (square[207] == 7).all()
    assert pad_xy == (0, 207)


def test_unletterbox_boxes__no_boxes() -> None:
    assert unletterbox_boxes(np.zeros((0, 4), np.float32), 2.0, (0, 104), (208, 104)).shape == (0, 4)


def test_unletterbox_boxes__moved_scaled_and_clipped() -> None:
    boxes = np.array([[100, 204, 200, 304], [-50, 0, 500, 416]], np.float32)
    expected = [[50, 50, 100, 100], [0, 0, 208, 104]]
    assert unletterbox_boxes(boxes, 2.0, (0, 104), (208, 104)).tolist() == expected


def test_class_confidences__no_images(random_folder: Path) -> None:
    assert YoloV3Tiny.load(random_folder).class_confidences(np.zeros((0, 416, 416, 3), np.uint8)).shape == (0, 80)


@pytest.mark.models
def test_boxes_and_confidences__shapes_and_order(network: YoloV3Tiny) -> None:
    boxes, confidences = network.boxes_and_confidences(BATCH)
    assert boxes.shape == (3, NUM_BOXES, 4)
    assert confidences.shape == (3, NUM_BOXES, 80)
    for index in range(3):
        alone_boxes, alone_confidences = network.boxes_and_confidences(BATCH[index : index + 1])
        np.testing.assert_array_equal(alone_boxes[0], boxes[index])
        np.testing.assert_array_equal(alone_confidences[0], confidences[index])
    np.testing.assert_array_equal(network.class_confidences(BATCH), confidences.max(axis=1))


@pytest.mark.models
def test_boxes_and_confidences__as_torch_computes_them(network: YoloV3Tiny) -> None:
    folder = package_folder(YOLOV3_TINY)
    boxes, confidences = network.boxes_and_confidences(BATCH[:1])
    expected_boxes, expected_confidences = run_in_torch(folder / WEIGHTS_FILE_NAME, BATCH[:1])
    np.testing.assert_allclose(confidences[0], expected_confidences, atol=1e-5)
    np.testing.assert_allclose(boxes[0], expected_boxes, atol=0.02, rtol=1e-4)


def run_in_torch(weights: Path, batch: npt.NDArray[np.uint8]) -> tuple[Float32Array, Float32Array]:
    """Compute one image's boxes and confidences by another route: torch modules, unfolded batch norm, box by box."""
    values = torch.from_numpy(np.fromfile(weights, np.float32, offset=20))

    def take(*shape: int) -> torch.Tensor:
        nonlocal values
        count = int(np.prod(shape))
        taken, values = values[:count], values[count:]
        return taken.reshape(shape)

    def block(inputs: int, outputs: int, side: int) -> torch.nn.Sequential:
        convolution = torch.nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
        norm = torch.nn.BatchNorm2d(outputs, eps=0)
        norm.bias.data, norm.weight.data = take(outputs), take(outputs)
        norm.running_mean, norm.running_var = take(outputs), (take(outputs).sqrt() + 1e-6) ** 2
        convolution.weight.data = take(outputs, inputs, side, side)
        return torch.nn.Sequential(convolution, norm, torch.nn.LeakyReLU(0.1)).eval()

    def head(inputs: int) -> torch.nn.Conv2d:
        convolution = torch.nn.Conv2d(inputs, 255, 1)
        assert convolution.bias is not None
        convolution.bias.data, convolution.weight.data = take(255), take(255, inputs, 1, 1)
        return convolution

    # not inference mode: the parameters created here need version counters, which inference tensors lack
    with torch.no_grad():
        features = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128), (128, 256)):
            shallow = block(inputs, outputs, 3)(features)
            features = torch.nn.functional.max_pool2d(shallow, 2)
        features = block(256, 512, 3)(features)
        padded = torch.nn.functional.pad(features, (0, 1, 0, 1), value=-1e30)
        deep = block(512, 1024, 3)(torch.nn.functional.max_pool2d(padded, 2, 1))
        deep = block(1024, 256, 1)(deep)
        coarse = block(256, 512, 3)(deep)
        outputs_by_side = {13: head(512)(coarse)[0]}
        raised = torch.nn.functional.interpolate(block(256, 128, 1)(deep), scale_factor=2)
        outputs_by_side[26] = block(384, 256, 3)(torch.cat((raised, shallow), 1))
        outputs_by_side[26] = head(256)(outputs_by_side[26])[0]
        assert len(values) == 0
    boxes, confidences = [], []
    anchors = {13: [(81, 82), (135, 169), (344, 319)], 26: [(23, 27), (37, 58), (81, 82)]}
    for side, output in outputs_by_side.items():
        cells = output.double().numpy().reshape(3, 85, side, side)
        for anchor, row, column in np.ndindex(3, side, side):
            x, y, width, height, objectness, *classes = cells[anchor, :, row, column]
            centre_x, centre_y = ((column + sigmoid(x)) * 416 / side, (row + sigmoid(y)) * 416 / side)
            half_width = np.exp(width) * anchors[side][anchor][0] / 2
            half_height = np.exp(height) * anchors[side][anchor][1] / 2
            boxes.append([centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height])
            confidences.append(sigmoid(objectness) * sigmoid(np.array(classes)))
    return np.array(boxes, np.float32), np.array(confidences, np.float32)


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def test_read_model__valid_onnx_with_what_ultralytics_reads(random_folder: Path) -> None:
    model = read_model(random_folder)
    onnx.checker.check_model(model)
    metadata = {prop.key: prop.value for prop in model.metadata_props}
    assert metadata["task"] == "detect"
    assert ast.literal_eval(metadata["names"])[79] == "class 79"


def test_load__missing_and_truncated_files(random_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"coco\.names is missing"):
        YoloV3Tiny.load(tmp_path)
    (tmp_path / NAMES_FILE_NAME).write_bytes((random_folder / NAMES_FILE_NAME).read_bytes())
    with pytest.raises(ModelError, match=r"yolov3-tiny\.weights is missing"):
        YoloV3Tiny.load(tmp_path)
    (tmp_path / WEIGHTS_FILE_NAME).write_bytes(b"\0" * 1000)
    with pytest.raises(ModelError, match="has 1,000 bytes instead of"):
        YoloV3Tiny.load(tmp_path)


def test_read_class_names__too_few(tmp_path: Path) -> None:
    (tmp_path / NAMES_FILE_NAME).write_text("person\ncar\n")
    with pytest.raises(ModelError, match="2 names"):
        read_class_names(tmp_path)
