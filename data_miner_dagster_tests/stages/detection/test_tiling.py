from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.stages.detection.tiling import merge_tiles, tile_windows


def found(*rows: tuple[float, int, tuple[float, float, float, float]]) -> ImageDetections:
    """Return detections from rows of (confidence, class index, box)."""
    return ImageDetections(
        np.array([box for _, _, box in rows], np.float32).reshape(-1, 4),
        np.array([confidence for confidence, _, _ in rows], np.float32),
        np.array([index for _, index, _ in rows], np.int32),
        tuple("thing" for _ in rows),
    )


def test_tile_windows__small_image_is_one_window() -> None:
    assert tile_windows((640, 480), side=640, overlap=0.2, include_whole=True) == [(0, 0, 640, 480)]


def test_tile_windows__by_hand() -> None:
    windows = tile_windows((1000, 500), side=600, overlap=0.25, include_whole=True)
    assert windows == [(0, 0, 1000, 500), (0, 0, 600, 500), (400, 0, 1000, 500)]
    assert tile_windows((1000, 500), side=600, overlap=0.25, include_whole=False) == windows[1:]


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), side=st.integers(64, 1000), overlap=st.floats(0, 0.9))
def test_tile_windows__cover_the_image_and_overlap(width: int, height: int, side: int, overlap: float) -> None:
    windows = tile_windows((width, height), side=side, overlap=overlap, include_whole=False)
    for length, spans in (
        (width, sorted({(left, right) for left, _, right, _ in windows})),
        (height, sorted({(top, bottom) for _, top, _, bottom in windows})),
    ):
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(end - start == min(side, length) for start, end in spans)
        for (_, end), (start, _) in pairwise(spans):
            assert end - start >= int(overlap * side) - 1


def test_merge_tiles__nothing_found() -> None:
    windows = [(0, 0, 10, 10), (5, 0, 15, 10)]
    merged = merge_tiles([ImageDetections.empty()] * 2, windows, (15, 10), merge_iou=0.5)
    assert merged.prompts == ()


def test_merge_tiles__moved_and_sorted() -> None:
    windows = [(0, 0, 100, 100), (80, 0, 180, 100)]
    merged = merge_tiles(
        [found((0.5, 0, (10, 10, 20, 20))), found((0.9, 1, (50, 50, 60, 70)))], windows, (180, 100), merge_iou=0.5
    )
    assert merged.boxes_xyxy.tolist() == [[130, 50, 140, 70], [10, 10, 20, 20]]
    assert merged.confidences.tolist() == pytest.approx([0.9, 0.5])


def test_merge_tiles__whole_object_wins_over_a_more_confident_part() -> None:
    windows = [(0, 0, 100, 100), (80, 0, 180, 100)]
    cut, whole = (0.9, 0, (85.0, 10.0, 100.0, 30.0)), (0.6, 0, (5.0, 10.0, 40.0, 30.0))  # columns 85 to 120
    merged = merge_tiles([found(cut), found(whole)], windows, (180, 100), merge_iou=0.5)
    assert merged.boxes_xyxy.tolist() == [[85, 10, 120, 30]]
    assert merged.confidences.tolist() == pytest.approx([0.6])


def test_merge_tiles__other_classes_and_boxes_of_one_window_stay() -> None:
    windows = [(0, 0, 100, 100), (80, 0, 180, 100)]
    child, adult = (0.8, 0, (10.0, 10.0, 20.0, 20.0)), (0.9, 0, (5.0, 5.0, 40.0, 40.0))
    left, right = found(adult, child, (0.7, 0, (82, 0, 98, 9))), found((0.6, 1, (2, 0, 18, 9)))
    assert len(merge_tiles([left, right], windows, (180, 100), merge_iou=0.5).prompts) == 4


def test_merge_tiles__masks_move_into_the_image() -> None:
    windows = [(0, 0, 180, 100), (0, 0, 100, 100), (80, 0, 180, 100)]
    pixels = np.zeros((100, 100), bool)
    pixels[10:30, 5:40] = True
    pixels[15, 20] = False
    whole = replace(found((0.6, 0, (5, 10, 40, 30))), masks=(Mask.of(pixels),))
    merged = merge_tiles([ImageDetections.empty()] * 2 + [whole], windows, (180, 100), merge_iou=0.5)
    (mask,) = merged.masks
    assert mask is not None
    expected = np.zeros((100, 180), bool)
    expected[10:30, 85:120] = True
    expected[15, 100] = False
    np.testing.assert_array_equal(mask.pixels(), expected)
    assert merged.boxes_xyxy.tolist() == [list(mask.bounds_xyxy or ())]
