"""Test the colours that final boxes take from the detectors' boxes."""

from collections.abc import Sequence

import numpy as np

from data_miner_dagster.domain.colours import NUM_COLOUR_BINS
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections
from data_miner_dagster.operations.detection.colours import StoredBoxes, colours_of
from data_miner_dagster.stages.detection.boxes import FrameDetections

CLASSES = (ClassPrompts("bus", ("bus",)), ClassPrompts("car", ("car",)))


def stored(*boxes: tuple[float, str, bytes | None]) -> StoredBoxes:
    corners = np.array([[left, 0, left + 40, 40] for left, *_ in boxes], np.float64).reshape(-1, 4)
    names = [name for _, name, _ in boxes]
    return StoredBoxes(corners, np.full(len(boxes), 0.8), names, [colours for *_, colours in boxes])


def found(*boxes: tuple[float, int]) -> FrameDetections:
    corners = np.array([[left, 0, left + 40, 40] for left, _ in boxes], np.float32).reshape(-1, 4)
    indices = np.array([class_index for _, class_index in boxes], np.int32)
    detections = ImageDetections(corners, np.full(len(boxes), 0.8, np.float32), indices, ("",) * len(boxes))
    return FrameDetections(detections, np.ones(len(boxes), np.int32))


def bins(boxes: FrameDetections, detectors: Sequence[StoredBoxes]) -> list[int | None]:
    return [None if each is None else int(each.argmax()) for each in colours_of(boxes, detectors, CLASSES)]


def look(colour: int) -> bytes:
    colours = np.zeros(NUM_COLOUR_BINS, np.uint8)
    colours[colour] = 255
    return colours.tobytes()


def test_colours_of__a_fused_box_takes_those_of_the_nearest_box_of_its_class() -> None:
    first = stored((0, "bus", look(1)), (100, "car", look(2)))
    second = stored((4, "bus", look(3)), (100, "bus", look(4)))
    assert bins(found((1, 0), (3, 0), (100, 1), (100, 0)), [first, second]) == [1, 3, 2, 4]


def test_colours_of__equal_boxes_of_two_detectors_take_those_of_the_first() -> None:
    assert bins(found((0, 0)), [stored((0, "bus", look(1))), stored((0, "bus", look(2)))]) == [1]


def test_colours_of__hidden_unknown_or_too_far() -> None:
    boxes = found((0, 0), (100, 0), (200, 0))
    assert bins(boxes, [stored((0, "bus", b""), (100, "bus", None), (230, "bus", look(1)))]) == [None] * 3
    assert bins(boxes, []) == [None] * 3
    assert bins(boxes, [stored()]) == [None] * 3
