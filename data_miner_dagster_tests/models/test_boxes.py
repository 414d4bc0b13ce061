import numpy as np
import pytest

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.models.boxes import detections_from_candidates

WH = (40, 30)


def block(left: int, top: int, right: int, bottom: int) -> Mask:
    pixels = np.zeros((WH[1], WH[0]), bool)
    pixels[top:bottom, left:right] = True
    return Mask.of(pixels)


def detections(masks: dict[int, Mask | None], asked: list[int]) -> ImageDetections:
    """Return the detections from three candidates: a box, one that it suppresses, and another."""

    def mask_of(row: int) -> Mask | None:
        asked.append(row)
        return masks[row]

    return detections_from_candidates(
        np.array([[0, 0, 20, 20], [1, 1, 20, 20], [25, 5, 60, 25]], np.float32),
        np.array([0.5, 0.25, 0.75], np.float32),
        np.zeros(3, np.int32),
        ["a", "b", "c"],
        image_wh=WH,
        nms_iou=0.7,
        masks=mask_of,
    )


def test_detections_from_candidates__no_masks() -> None:
    found = detections_from_candidates(
        np.array([[0, 0, 20, 20]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int32),
        ["a"],
        image_wh=WH,
        nms_iou=None,
    )
    assert found.masks == (None,)
    assert ImageDetections.empty().masks == ()


def test_detections_from_candidates__a_box_is_the_bounds_of_its_mask() -> None:
    asked: list[int] = []
    found = detections({0: block(2, 3, 18, 19), 2: block(26, 6, 40, 24)}, asked)
    assert found.prompts == ("c", "a")
    assert found.boxes_xyxy.tolist() == [[26, 6, 40, 24], [2, 3, 18, 19]]
    assert [mask and mask.area for mask in found.masks] == [14 * 18, 16 * 16]
    assert asked == [2, 0]  # no mask is requested for the suppressed box


def test_detections_from_candidates__an_empty_mask_is_none() -> None:
    found = detections({0: Mask.of(np.zeros((30, 40), bool)), 2: None}, [])
    assert found.masks == (None, None)
    assert found.boxes_xyxy.tolist() == [[25, 5, 40, 25], [0, 0, 20, 20]]


def test_detections_from_candidates__a_mask_of_another_picture() -> None:
    with pytest.raises(ValueError, match=r"a mask is \(20, 20\), but the size of its image is \(40, 30\)"):
        detections({0: Mask.of(np.ones((20, 20), bool)), 2: None}, [])
