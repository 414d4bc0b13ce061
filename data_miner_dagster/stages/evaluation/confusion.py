"""The confusion matrix: the classes of objects against the classes of the boxes that cover them."""

from collections.abc import Sequence

import numpy as np

from data_miner_dagster.domain.quality import ConfusionMatrix
from data_miner_dagster.domain.verdicts import SAME_BOX_IOU
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.stages.estimates import Float64Array, Int64Array
from data_miner_dagster.stages.evaluation.boxes import FoundBoxes, TruthBoxes, rows_by_group
from data_miner_dagster.stages.evaluation.matching import shares_inside


def confusion_matrix(
    truth: TruthBoxes, found: FoundBoxes, class_names: Sequence[str], thresholds: Sequence[float]
) -> ConfusionMatrix:
    """Return the number of objects by their class and the class of the box that covers them.

    Objects outside crowd regions are matched with boxes one to one, best overlaps first (IoU of at least
    `SAME_BOX_IOU`). The last row counts boxes without an object, and the last column objects without a box. Boxes below
    the threshold of their class are not counted, and neither are unmatched boxes in a crowd region of their class.
    """
    counts = np.zeros((len(class_names) + 1, len(class_names) + 1), np.int64)
    is_taken = found.confidences.astype(np.float32) >= np.array(thresholds, np.float32)[found.classes]
    objects, boxes = rows_by_group(truth.frames), rows_by_group(found.frames)
    nothing = np.zeros(0, np.int64)
    for frame in sorted({*objects, *boxes}):
        own, rows = objects.get(frame, nothing), boxes.get(frame, nothing)
        _count_frame(counts, truth, found, own, rows[is_taken[rows]])
    return ConfusionMatrix(tuple(class_names), tuple(tuple(row) for row in counts.tolist()))


def _count_frame(
    counts: Int64Array, truth: TruthBoxes, found: FoundBoxes, objects: Int64Array, boxes: Int64Array
) -> None:
    single, crowds = objects[~truth.is_crowd[objects]], objects[truth.is_crowd[objects]]
    pairs = _best_pairs(iou_matrix(truth.boxes_xyxy[single], found.boxes_xyxy[boxes]))
    for row, column in pairs:
        counts[truth.classes[single[row]], found.classes[boxes[column]]] += 1
    for row in sorted(set(range(len(single))) - {row for row, _ in pairs}):
        counts[truth.classes[single[row]], -1] += 1
    inside = shares_inside(found.boxes_xyxy[boxes], truth.boxes_xyxy[crowds]) >= SAME_BOX_IOU
    inside &= found.classes[boxes][:, None] == truth.classes[crowds][None, :]
    for column in sorted(set(range(len(boxes))) - {column for _, column in pairs}):
        if not inside[column].any():
            counts[-1, found.classes[boxes[column]]] += 1


def _best_pairs(overlaps: Float64Array) -> list[tuple[int, int]]:
    rows, columns = np.nonzero(overlaps >= SAME_BOX_IOU)
    order = np.lexsort((columns, rows, -overlaps[rows, columns]))
    pairs: dict[int, int] = {}
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())
