"""Tests that the polygons of unusual masks match the masks when filled by pycocotools or as Ultralytics does."""

import cv2
import numpy as np
import pytest

from data_miner_dagster.domain.masks import Mask, MaskPixels, mask_iou
from data_miner_dagster.export.outlines import coco_segmentation, mask_of_coco, mask_of_yolo, yolo_polygon

WH = (400, 300)


def drawn(*rectangles: tuple[int, int, int, int]) -> MaskPixels:
    pixels = np.zeros((WH[1], WH[0]), bool)
    for left, top, right, bottom in rectangles:
        pixels[top:bottom, left:right] = True
    return pixels


def ellipse(*holes: tuple[int, int, int]) -> MaskPixels:
    """Return an ellipse with round holes, each given as (x, y, radius)."""
    canvas = np.zeros((WH[1], WH[0]), np.uint8)
    cv2.ellipse(canvas, (200, 150), (120, 70), 20, 0, 360, 1, -1)
    for x, y, radius in holes:
        cv2.circle(canvas, (x, y), radius, 0, -1)
    return canvas.astype(bool)


def corners_meet() -> MaskPixels:
    return drawn((10, 10, 60, 60), (60, 60, 110, 110))


def diagonal() -> MaskPixels:
    pixels = drawn()
    pixels[np.arange(50), np.arange(50)] = True
    return pixels


STRANGE = {
    "the whole image": drawn((0, 0, 400, 300)),
    "one pixel": drawn((23, 17, 24, 18)),
    "the first pixel": drawn((0, 0, 1, 1)),
    "the last pixel": drawn((399, 299, 400, 300)),
    "three pixels": drawn((10, 10, 12, 11), (10, 11, 11, 12)),
    "at the left edge": drawn((0, 100, 60, 200)),
    "in the last corner": drawn((350, 250, 400, 300)),
    "one row": drawn((10, 5, 200, 6)),
    "one column": drawn((10, 5, 11, 200)),
    "a diagonal": diagonal(),
    "round": ellipse(),
    "a hole": ellipse((200, 150, 30)),
    "three holes, one of a pixel": ellipse((180, 150, 10), (230, 150, 10), (260, 140, 0)),
    "two parts": drawn((20, 20, 150, 150), (160, 20, 300, 150)),
    "two parts at a corner": corners_meet(),
    "three parts and a hole": ellipse((200, 150, 30)) | drawn((0, 0, 80, 60), (320, 240, 400, 300)),
}


@pytest.mark.parametrize("name", STRANGE)
def test_coco_segmentation__pycocotools_fills_it_to_the_mask(name: str) -> None:
    mask = Mask.of(STRANGE[name])
    segmentation = coco_segmentation(mask, is_crowd=False)
    assert isinstance(segmentation, dict) == ("a hole" in name or "holes" in name)  # polygons cannot have holes
    assert mask_iou(mask_of_coco(segmentation, WH), mask) >= 0.99
    if isinstance(segmentation, list):
        points = np.concatenate([np.array(ring).reshape(-1, 2) for ring in segmentation])
        np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], list(mask.bounds_xyxy or ()), atol=1)


def test_coco_segmentation__of_a_rectangle_by_hand() -> None:
    (ring,) = coco_segmentation(Mask.of(drawn((10, 20, 30, 50))), is_crowd=False)
    assert sorted(zip(ring[::2], ring[1::2], strict=True)) == [(10, 20), (10, 50), (30, 20), (30, 50)]


def test_coco_segmentation__a_region_to_ignore_is_run_lengths() -> None:
    mask = Mask.of(drawn((10, 20, 30, 50)))
    assert coco_segmentation(mask, is_crowd=True) == {"size": [300, 400], "counts": mask.counts}


def test_coco_segmentation__noise_is_run_lengths() -> None:
    mask = Mask.of(np.random.default_rng(0).random((60, 80)) > 0.5)
    assert coco_segmentation(mask, is_crowd=False) == mask.as_coco()


@pytest.mark.parametrize("name", STRANGE)
def test_yolo_polygon__as_ultralytics_fills_it(name: str) -> None:
    mask = Mask.of(STRANGE[name])
    points = yolo_polygon(mask)
    assert len(points) >= 3
    assert mask_iou(mask_of_yolo(points, WH), mask) >= 0.99
    np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], list(mask.bounds_xyxy or ()), atol=0.1)


def test_yolo_polygon__a_part_smaller_than_the_way_to_it_is_left_out() -> None:
    large, small = drawn((20, 20, 120, 120)), drawn((300, 200, 303, 203))
    found = mask_of_yolo(yolo_polygon(Mask.of(large | small)), WH)
    np.testing.assert_array_equal(found.pixels(), large)


def test_yolo_polygon__noise_ends() -> None:
    """Check that a noisy mask, of which mostly specks are left out, still gives a valid polygon."""
    mask = Mask.of(np.random.default_rng(0).random((60, 80)) > 0.5)
    points = yolo_polygon(mask)
    assert ((points >= 0) & (points <= [80, 60])).all()
