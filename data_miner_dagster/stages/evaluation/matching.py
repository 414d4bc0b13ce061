"""Match detected boxes with objects of the ground truth on one frame.

Source: the matching of the COCO evaluation, https://github.com/cocodataset/cocoapi (`evaluateImg`). By descending
confidence, each box takes the unmatched object that it overlaps most, if the overlap suffices. Crowd regions take any
number of boxes.
"""

from typing import Final

import numpy as np

from data_miner_dagster.domain.verdicts import SAME_BOX_IOU
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.stages.estimates import BoolArray, Float64Array, Int64Array

UNMATCHED: Final = -1
IN_CROWD: Final = -2


def match_boxes(
    found_xyxy: Float64Array,
    confidences: Float64Array,
    truth_xyxy: Float64Array,
    is_crowd: BoolArray,
    *,
    iou: float = SAME_BOX_IOU,
) -> Int64Array:
    """Return, for each of N boxes of one class, the index of its object, UNMATCHED, or IN_CROWD.

    Boxes are matched in order of descending confidence, each with the unmatched object that it overlaps most. On a tie,
    the last object is taken. A box is IN_CROWD, and does not count, if it matches no object but lies in a crowd region.

    Args:
        found_xyxy: (N, 4) boxes in any order.
        confidences: (N,) confidences. On a tie, the first box takes precedence.
        truth_xyxy: (M, 4) boxes of the ground truth.
        is_crowd: (M,) whether each box of the ground truth is a region with many objects.
        iou: the minimum IoU of a box with its object, and the minimum fraction of a box inside a crowd region.
    """
    matches = np.full(len(found_xyxy), UNMATCHED, np.int64)
    if not len(found_xyxy) or not len(truth_xyxy):
        return matches
    overlaps = iou_matrix(found_xyxy, truth_xyxy)
    overlaps[:, is_crowd] = shares_inside(found_xyxy, truth_xyxy[is_crowd])
    is_free = ~is_crowd
    for position in np.argsort(-confidences, kind="stable").tolist():
        candidates = np.where(is_free, overlaps[position], -1.0)
        # On a tie, COCO takes the last object.
        best = len(candidates) - 1 - int(candidates[::-1].argmax())
        if candidates[best] >= iou:
            matches[position] = best
            is_free[best] = False
        elif (overlaps[position, is_crowd] >= iou).any():
            matches[position] = IN_CROWD
    return matches


def shares_inside(found_xyxy: Float64Array, regions_xyxy: Float64Array) -> Float64Array:
    """Return the (N, M) fraction of each box that lies inside each region."""
    low = np.maximum(found_xyxy[:, None, :2], regions_xyxy[None, :, :2])
    high = np.minimum(found_xyxy[:, None, 2:], regions_xyxy[None, :, 2:])
    intersections = np.clip(high - low, 0, None).prod(axis=2)
    areas = np.clip(found_xyxy[:, 2:] - found_xyxy[:, :2], 0, None).prod(axis=1)[:, None]
    shares: Float64Array = np.divide(intersections, areas, out=np.zeros_like(intersections), where=areas > 0)
    return shares
