"""Ground-truth boxes and detected boxes as arrays, and the matching between them."""

from dataclasses import dataclass

import numpy as np

from data_miner_dagster.stages.estimates import BoolArray, Float64Array, Int64Array
from data_miner_dagster.stages.evaluation.matching import UNMATCHED, match_boxes


@dataclass(frozen=True, slots=True)
class TruthBoxes:
    """M objects of the ground truth, in frames identified by position. Coordinates are absolute pixels."""

    frames: Int64Array  # (M,)
    classes: Int64Array  # (M,)
    boxes_xyxy: Float64Array  # (M, 4)
    is_crowd: BoolArray  # (M,) a region with many objects, in which boxes are not counted
    areas: Float64Array  # (M,) area of the object, which may be smaller than its box


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """N boxes that were detected on the frames of the ground truth, in absolute pixels."""

    frames: Int64Array  # (N,)
    classes: Int64Array  # (N,)
    confidences: Float64Array  # (N,)
    boxes_xyxy: Float64Array  # (N, 4)


def match_all(truth: TruthBoxes, found: FoundBoxes) -> Int64Array:
    """Return, for each of the N boxes, the row of its object in `truth`, or UNMATCHED or IN_CROWD.

    A box and its object belong to the same frame, have the same class, and overlap with an IoU of at least
    `SAME_BOX_IOU`. Each object is matched by at most one box: by descending confidence, each box takes the unmatched
    object that it overlaps most. A box without an object is IN_CROWD, and does not count, if at least the fraction
    `SAME_BOX_IOU` of it lies inside a crowd region of its frame and class.
    """
    matches = np.full(len(found.frames), UNMATCHED, np.int64)
    num_classes = 1 + max(int(truth.classes.max(initial=0)), int(found.classes.max(initial=0)))
    objects = rows_by_group(truth.frames * num_classes + truth.classes)
    for group, rows in rows_by_group(found.frames * num_classes + found.classes).items():
        own = objects.get(group)
        if own is None:
            continue
        inside = match_boxes(
            found.boxes_xyxy[rows], found.confidences[rows], truth.boxes_xyxy[own], truth.is_crowd[own]
        )
        matches[rows] = np.where(inside >= 0, own[np.maximum(inside, 0)], inside)
    return matches


def rows_by_group(groups: Int64Array) -> dict[int, Int64Array]:
    """Return the rows of each group, in ascending order, by group."""
    order = np.argsort(groups, kind="stable")
    names, starts = np.unique(groups[order], return_index=True)
    return dict(zip(names.tolist(), np.split(order, starts[1:]), strict=False)) if len(groups) else {}
