import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_masks

from data_miner_dagster.domain.masks import Mask, mask_iou

RING = np.array(
    [
        [0, 1, 1, 1],
        [0, 1, 0, 1],
        [0, 1, 1, 1],
    ],
    bool,
)


def test_mask__by_hand() -> None:
    mask = Mask.of(RING)
    assert mask.resolution_wh == (4, 3)
    assert mask.counts == "3410"  # by column: 3 absent, 4 present, 1 absent, 4 present (stored as the difference 0)
    assert mask.run_lengths() == [3, 4, 1, 4]
    assert mask.area == 8
    assert mask.bounds_xyxy == (1, 0, 4, 3)
    np.testing.assert_array_equal(mask.pixels(), RING)
    region, left_top = mask.region()
    np.testing.assert_array_equal(region, RING[:, 1:])
    assert left_top == (1, 0)
    assert Mask.from_coco(mask.as_coco()) == mask


def test_mask__without_any_pixel() -> None:
    mask = Mask.of(np.zeros((3, 4), bool))
    assert (mask.area, mask.bounds_xyxy) == (0, None)
    assert not mask.pixels().any()
    assert mask.moved((1, 1), (9, 9)).area == 0
    assert mask_iou(mask, mask) == 0


pictures = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(pictures, st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_of_region__as_pycocotools_writes_the_whole_picture(
    region: np.ndarray, left: int, top: int, right: int, bottom: int
) -> None:
    picture = np.pad(region, ((top, bottom), (left, right)))
    resolution_wh = (picture.shape[1], picture.shape[0])
    mask = Mask.of_region(region, left_top=(left, top), resolution_wh=resolution_wh)
    assert mask.counts == coco_masks.encode(np.asfortranarray(picture.astype(np.uint8)))["counts"].decode()
    uncompressed = {"size": [*picture.shape], "counts": mask.run_lengths()}
    assert coco_masks.frPyObjects(uncompressed, *picture.shape)["counts"].decode() == mask.counts
    np.testing.assert_array_equal(mask.pixels(), picture)
    x_min, y_min, x_max, y_max = map(int, mask.bounds_xyxy or (0, 0, 0, 0))
    np.testing.assert_array_equal(mask.region()[0], picture[y_min:y_max, x_min:x_max])
    assert mask.region()[1] == (x_min, y_min)
    assert Mask.of(region).moved((left, top), resolution_wh) == mask


def test_of_region__outside_of_the_picture() -> None:
    with pytest.raises(ValueError, match="a region of 4x3 at 1,0 is not inside a picture of 4x3"):
        Mask.of_region(RING, left_top=(1, 0), resolution_wh=(4, 3))


def test_mask_iou__by_hand() -> None:
    filled = np.zeros((3, 4), bool)
    filled[:, 1:] = True
    assert mask_iou(Mask.of(RING), Mask.of(filled)) == pytest.approx(8 / 9)
