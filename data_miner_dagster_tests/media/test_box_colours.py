"""Tests of the colours found in the boxes of drawn pictures."""

import numpy as np

from data_miner_dagster.domain.colours import NUM_COLOUR_BINS, colour_distance, unit_colours
from data_miner_dagster.media.box_colours import box_colours

RED, BLUE, DARK_RED = (205, 52, 48), (44, 96, 190), (150, 40, 36)
LEFT, RIGHT = (10.0, 10.0, 60.0, 60.0), (110.0, 10.0, 160.0, 60.0)


def picture(*shapes: tuple[tuple[float, ...], tuple[int, int, int]]) -> np.ndarray:
    image = np.random.default_rng(0).integers(100, 140, (100, 200, 3)).astype(np.uint8)
    for box, colour in shapes:
        left, top, right, bottom = map(round, box)
        image[top:bottom, left:right] = colour
    return image


def colours(image: np.ndarray, *boxes: tuple[float, ...]) -> list[np.ndarray | None]:
    return box_colours(image, np.array(boxes).reshape(-1, 4), np.full(len(boxes), 0.8))


def distance(first: np.ndarray | None, second: np.ndarray | None) -> float:
    assert first is not None
    assert second is not None
    return colour_distance(unit_colours(first), unit_colours(second))


def test_box_colours__tell_objects_apart_and_know_them_again() -> None:
    red, blue = colours(picture((LEFT, RED), (RIGHT, BLUE)), LEFT, RIGHT)
    moved = (70.4, 30.2, 120.4, 80.2)
    (again,) = colours(picture((moved, RED)), moved)
    (darker,) = colours(picture((LEFT, DARK_RED)), LEFT)
    assert red is not None
    assert len(red.tobytes()) == NUM_COLOUR_BINS
    assert distance(red, again) < 0.05
    assert distance(red, darker) < distance(red, blue)
    assert distance(red, blue) > 0.8


def test_box_colours__only_pixels_that_no_other_box_contains_count() -> None:
    front = (40.0, 10.0, 90.0, 60.0)
    image = picture((LEFT, RED), (front, BLUE))
    behind, _ = colours(image, LEFT, front)
    (with_front,) = colours(image, LEFT)
    (alone,) = colours(picture((LEFT, RED)), LEFT)
    assert distance(behind, alone) < 0.05 < distance(with_front, alone)
    hidden, _ = colours(image, LEFT, (15.0, 10.0, 75.0, 60.0))
    assert hidden is None, "too little is visible"


def test_box_colours__boxes_at_edges_and_without_area() -> None:
    image = picture((LEFT, RED))
    assert colours(image) == []
    beyond, empty = colours(image, (-5.0, -5.0, 30.0, 30.0), (10.0, 10.0, 10.0, 30.0))
    assert beyond is not None
    assert empty is None
