from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.darknet import (
    NAMES_FILE_NAME,
    NUM_BOXES,
    WEIGHTS_FILE_NAME,
    YoloV3Tiny,
    letterbox,
    read_class_names,
    unletterbox_boxes,
)

NUM_WEIGHTS = (35_434_956 - 20) // 4  # the size of the published file


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("darknet")
    values = np.random.default_rng(0).uniform(0.01, 0.05, NUM_WEIGHTS).astype(np.float32)
    header = np.array([0, 2, 0, 0, 0], np.int32)
    (folder / WEIGHTS_FILE_NAME).write_bytes(header.tobytes() + values.tobytes())
    (folder / NAMES_FILE_NAME).write_text("".join(f"class {index}\n" for index in range(80)))
    return folder


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


def test_boxes_and_confidences__shapes_and_order(random_folder: Path) -> None:
    network = YoloV3Tiny.load(random_folder)
    batch = np.random.default_rng(1).integers(0, 256, (3, 416, 416, 3), np.uint8)
    boxes, confidences = network.boxes_and_confidences(batch)
    assert boxes.shape == (3, NUM_BOXES, 4)
    assert confidences.shape == (3, NUM_BOXES, 80)
    alone, _ = network.boxes_and_confidences(batch[2:])
    np.testing.assert_allclose(alone[0], boxes[2], rtol=1e-4, atol=1e-2)
    np.testing.assert_array_equal(network.class_confidences(batch), confidences.max(axis=1))


def test_load__missing_and_truncated_files(random_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"coco\.names is missing"):
        YoloV3Tiny.load(tmp_path)
    (tmp_path / NAMES_FILE_NAME).write_bytes((random_folder / NAMES_FILE_NAME).read_bytes())
    with pytest.raises(ModelError, match=r"yolov3-tiny\.weights is missing"):
        YoloV3Tiny.load(tmp_path)
    (tmp_path / WEIGHTS_FILE_NAME).write_bytes(b"\0" * 1000)
    with pytest.raises(ModelError, match="has 1000 bytes"):
        YoloV3Tiny.load(tmp_path)


def test_read_class_names__too_few(tmp_path: Path) -> None:
    (tmp_path / NAMES_FILE_NAME).write_text("person\ncar\n")
    with pytest.raises(ModelError, match="2 names"):
        read_class_names(tmp_path)
