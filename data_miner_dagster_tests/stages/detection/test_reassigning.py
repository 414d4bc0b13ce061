"""Boxes that the next frames show to belong to another object."""

import numpy as np

from data_miner_dagster.stages.detection.reassigning import reassigned


def box(left: float) -> np.ndarray:
    return np.array([left, 0, left + 40, 40], np.float64)


def boxes(*lefts: float) -> np.ndarray:
    return np.array([box(left) for left in lefts]).reshape(-1, 4)


def test_reassigned__exchanged_boxes_are_exchanged_back() -> None:
    assert reassigned([1, 2], boxes(10, 25), {1: box(25), 2: box(10)}) == {0: 2, 1: 1}


def test_reassigned__a_box_goes_to_the_object_that_has_none() -> None:
    assert reassigned([1], boxes(25), {1: box(10), 2: box(25)}) == {0: 2}
    assert reassigned([7], boxes(25), {2: box(25)}) == {0: 2}, "7 is nowhere else"


def test_reassigned__a_slightly_better_place_is_not_enough() -> None:
    assert reassigned([1], boxes(11), {1: box(10), 2: box(11)}) == {}


def test_reassigned__an_object_keeps_its_box_unless_it_gives_it_away() -> None:
    assert reassigned([1, 2], boxes(25, 200), {1: box(10), 2: box(25)}) == {}, "2 has a box, whose own place is unknown"


def test_reassigned__nothing_to_compare() -> None:
    assert reassigned([], boxes(), {1: box(10)}) == {}
    assert reassigned([1], boxes(10), {}) == {}
