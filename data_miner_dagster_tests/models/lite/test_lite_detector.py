from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections, RgbImage
from data_miner_dagster.models.lite.lite_detector import LiteDetector, load
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster_tests.models.detectors.detector_contract import assert_keeps_contract

pytestmark = pytest.mark.models

SPEC = find_spec("ultralytics")
# found by path, since importing ultralytics changes the process
ASSETS = Path(str(SPEC and SPEC.origin)).parent / "assets"
CLASSES = (
    ClassPrompts("person", ("a person",)),
    ClassPrompts("bus", ("bus",)),
    ClassPrompts("neckwear", ("scarf", "ties")),
)


@pytest.fixture(scope="module")
def detector() -> LiteDetector:
    return load(BUILT_IN["lite-yolov3-tiny"], "auto")


def photo(name: str) -> RgbImage:
    return np.asarray(cv2.cvtColor(cv2.imread(str(ASSETS / name)), cv2.COLOR_BGR2RGB), np.uint8)


def boxes_of(found: ImageDetections, class_index: int, confidence: float) -> Float32Array:
    rows = (found.class_indices == class_index) & (found.confidences >= confidence)
    boxes: Float32Array = found.boxes_xyxy[rows]
    return boxes


def test_detect__contract(detector: LiteDetector) -> None:
    images = [photo("bus.jpg"), photo("zidane.jpg")[:300, :77], np.zeros((1, 1, 3), np.uint8)]
    found = assert_keeps_contract(detector, CLASSES, images=images)
    assert len(found[0].confidences) > 3
    assert found[2].prompts == ()


def test_detect__people_and_bus(detector: LiteDetector) -> None:
    found = detector.detect([photo("bus.jpg")], CLASSES, confidence_floor=0.25)[0]
    # Measured in the picture, which is 810 x 1080: three whole people and one bus.
    for expected in ([50, 400, 245, 903], [670, 390, 810, 880], [222, 405, 344, 860]):
        distances = np.abs(boxes_of(found, 0, 0.25) - np.array(expected, np.float32)).max(axis=1)
        assert distances.min() < 80, expected
    (bus,) = boxes_of(found, 1, 0.25)
    np.testing.assert_allclose(bus, [22, 230, 804, 757], atol=60)


def test_detect__phrase_that_matched_is_named(detector: LiteDetector) -> None:
    found = detector.detect([photo("zidane.jpg")], CLASSES, confidence_floor=0.3)[0]
    assert len(boxes_of(found, 0, 0.6)) == 2
    assert {prompt for prompt, index in zip(found.prompts, found.class_indices, strict=True) if index == 2} == {"ties"}


def test_detect__unknown_class(detector: LiteDetector) -> None:
    with pytest.raises(ConfigError, match="'giraf' is not one of them"):
        detector.detect([], [ClassPrompts("giraf", ("giraf",))], confidence_floor=0.1)
