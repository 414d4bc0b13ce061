"""The contract of `ObjectDetector`. Each implementation's test module checks it with these functions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.masks import mask_iou
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.detection.trial import try_detect
from data_miner_dagster.protocols.detectors import ObjectDetector

ODD_SIZES_WH = ((640, 480), (37, 211), (500, 33), (1, 1), (416, 416), (17, 16))


def odd_images(seed: int = 0) -> list[RgbImage]:
    """Return images of smooth noise in odd sizes."""
    random = np.random.default_rng(seed)
    images = []
    for width, height in ODD_SIZES_WH:
        coarse = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
        images.append(np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]))
    return images


def assert_equal(first: ImageDetections, second: ImageDetections) -> None:
    """Raise AssertionError unless both are identical to the last bit."""
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    np.testing.assert_array_equal(first.confidences, second.confidences)
    np.testing.assert_array_equal(first.class_indices, second.class_indices)
    assert first.prompts == second.prompts
    assert first.masks == second.masks


def assert_alike(first: ImageDetections, second: ImageDetections) -> None:
    """Raise AssertionError unless both are equal up to the rounding differences between batch sizes."""
    assert first.prompts == second.prompts
    np.testing.assert_array_equal(first.class_indices, second.class_indices)
    # Rounding can add or remove a pixel at the edge of a mask, which moves its box by a pixel.
    atol = np.array([0.1 if mask is None else 1 for mask in first.masks]).reshape(-1, 1)
    assert (np.abs(first.boxes_xyxy - second.boxes_xyxy) <= atol + 1e-3 * np.abs(second.boxes_xyxy)).all()
    for one, other in zip(first.masks, second.masks, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or mask_iou(one, other) >= 0.99
    np.testing.assert_allclose(first.confidences, second.confidences, atol=1e-3)


def assert_keeps_contract(
    detector: ObjectDetector,
    classes: Sequence[ClassPrompts],
    *,
    images: Sequence[RgbImage] | None = None,
    confidence_floor: float = 0.01,
) -> list[ImageDetections]:
    """Raise AssertionError unless the detector keeps the contract. Return its detections, one entry per image."""
    assert isinstance(detector, ObjectDetector)
    assert detector.name
    assert detector.fingerprint
    assert detector.detect([], classes, confidence_floor=confidence_floor) == []
    images = odd_images() if images is None else images
    found = detector.detect(images, classes, confidence_floor=confidence_floor)
    assert len(found) == len(images)
    for image, detections in zip(images, found, strict=True):
        assert_well_formed(detections, image, classes, confidence_floor)
    for first, second in zip(found, detector.detect(images, classes, confidence_floor=confidence_floor), strict=True):
        assert_equal(first, second)
    for first, second in zip(
        found, detector.detect(images[::-1], classes, confidence_floor=confidence_floor)[::-1], strict=True
    ):
        assert_alike(first, second)
    for image, detections in zip(images, found, strict=True):
        assert_alike(detections, detector.detect([image], classes, confidence_floor=confidence_floor)[0])
    above = [detector.detect([image], classes, confidence_floor=1.0)[0] for image in images]
    assert all((detections.confidences >= 1.0).all() for detections in above)
    return found


def assert_well_formed(
    detections: ImageDetections, image: RgbImage, classes: Sequence[ClassPrompts], confidence_floor: float
) -> None:
    """Raise AssertionError unless the boxes are sorted, lie inside the image, and have a phrase of their own class."""
    count = len(detections.confidences)
    assert detections.boxes_xyxy.shape == (count, 4)
    assert detections.boxes_xyxy.dtype == detections.confidences.dtype == np.float32
    assert detections.class_indices.dtype == np.int32
    assert len(detections.prompts) == len(detections.class_indices) == count
    height, width = image.shape[:2]
    left, top, right, bottom = detections.boxes_xyxy.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= width).all()
    assert (bottom <= height).all()
    assert (left < right).all()
    assert (top < bottom).all()
    assert (detections.confidences >= confidence_floor).all()
    assert (detections.confidences <= 1).all()
    assert (np.diff(detections.confidences) <= 0).all()
    for index, prompt in zip(detections.class_indices.tolist(), detections.prompts, strict=True):
        wanted = classes[index]
        assert prompt in wanted.prompts or (wanted.exemplars and prompt == wanted.exemplar_prompt)
    for box, mask in zip(detections.boxes_xyxy.tolist(), detections.masks, strict=True):
        assert mask is None or (mask.resolution_wh, mask.bounds_xyxy) == ((width, height), tuple(box))


def assert_can_be_tried(models: ModelProvider, classes: Sequence[ClassPrompts], folder: Path) -> None:
    """Raise AssertionError unless `data-miner try detect` finds the same boxes as the detector on the same pixels."""
    pictures = odd_images()[:2]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number}.png")
    asked = {wanted.class_name: [*wanted.prompts] for wanted in classes}
    config = DetectionConfig.model_validate({"classes": asked})
    trial = try_detect(models, config, folder, threshold=0.05)
    found = models.detector.load().detect(pictures, classes, confidence_floor=0.05)
    assert [row.cells[0] for row in trial.rows] == [str(len(detections.prompts)) for detections in found]
    for row, detections in zip(trial.rows, found, strict=True):
        drawn = sorted(box.box_xyxy for box in row.boxes)
        np.testing.assert_allclose(drawn, sorted(map(tuple, detections.boxes_xyxy.tolist())), atol=0.1)
