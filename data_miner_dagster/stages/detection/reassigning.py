"""Reassign the boxes of a frame once the frames after it are known.

A tracker knows only the past. Where objects cross, it may swap them for a frame or two. The positions of an object
before and after a frame show where it was in that frame.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.stages.detection.sightings import Box

MOST_GAP_SECONDS: Final = 0.75
"""The maximum time between an object's positions around a frame, unless the object moves steadily
(`Track.moves_steadily`)."""
_LEAST_IOU: Final = 0.3
"""The minimum IoU at which an object's expected position explains a box."""
_STAYING: Final = 0.1
"""The increase in IoU that justifies reassigning a box."""
_UNEXPLAINED: Final = 0.5
"""The IoU that is assumed for a box's current object if the expected position of that object is unknown."""


def reassigned(owners: Sequence[int], boxes: Box, places: Mapping[int, Box]) -> dict[int, int]:
    """Return {row: object} for the boxes of one class that another object's expected position explains better.

    Args:
        owners: the object of each box.
        boxes: (N, 4) the boxes.
        places: the expected position of each object, given the frames before and after.
    """
    from scipy.optimize import linear_sum_assignment

    if not owners or not places:
        return {}
    objects = sorted(places)
    gains = iou_matrix(np.array([places[number] for number in objects]), boxes)
    gains[gains < _LEAST_IOU] = 0
    staying = np.zeros((len(owners), len(owners)))
    for row, owner in enumerate(owners):
        if owner in places:
            gains[objects.index(owner), row] += _STAYING
        staying[row, row] = _STAYING if owner in places else _UNEXPLAINED
    chosen, rows = linear_sum_assignment(np.vstack([gains, staying]), maximize=True)
    changes = {
        row: objects[place]
        for place, row in zip(chosen.tolist(), rows.tolist(), strict=True)
        if place < len(objects) and objects[place] != owners[row] and gains[place, row] > 0
    }
    while True:  # an object can take a box only if it has none, or gives its own away
        given = {owners[row] for row in changes}
        possible = {row: to for row, to in changes.items() if to in given or to not in owners}
        if len(possible) == len(changes):
            return changes
        changes = possible
