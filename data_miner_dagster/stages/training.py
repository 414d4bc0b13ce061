"""Find disagreements between the annotations of a release and a network trained on them. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.stages.detection.boxes import iou_matrix

LEAST_CONFIDENCE: Final = 0.05
"""Detections of a student below this confidence are ignored."""
_THRESHOLDS: Final = tuple(round(0.05 * step, 2) for step in range(1, 19))
SAME_OBJECT_IOU: Final = 0.3
"""The minimum IoU at which a label and a student's box show the same object. It is low because a small student's boxes
are less exact than the labels, and only the presence of the object and its class matter."""


@dataclass(frozen=True, slots=True)
class FrameLabels:
    """N boxes of one image, from the release or from the student."""

    boxes_xyxy: Float32Array  # (N, 4)
    class_indices: npt.NDArray[np.int32]  # (N,)
    confidences: Float32Array  # (N,)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The most confident box in an image that only the labels have, or only the student."""

    confidence: float
    why: str  # human-readable


def best_threshold(frames: Sequence[tuple[FrameLabels, FrameLabels]]) -> float:
    """Return the threshold at which a student's boxes have the highest F1 score against the labels.

    Thresholds from 0.05 to 0.90 in steps of 0.05 are tried. If scores are equal, the lowest threshold wins.

    Args:
        frames: the labels and the student's boxes for images that the student was not trained on.
    """
    scores = []
    for threshold in _THRESHOLDS:
        num_alone = num_met = 0
        for labels, student in frames:
            alone, is_met, _ = _matched(labels, student, threshold)
            num_met += int(is_met.sum())
            num_alone += len(alone) + int((~is_met).sum())
        scores.append(2 * num_met / max(1, 2 * num_met + num_alone))
    return _THRESHOLDS[int(np.argmax(scores))]


def find_disagreement(
    labels: FrameLabels, student: FrameLabels, class_names: Sequence[str], threshold: float
) -> Disagreement | None:
    """Return the most confident disagreement between a student and an image's labels, or None if they agree.

    Args:
        labels: the boxes of the release.
        student: the student's boxes, of any confidence.
        class_names: the class names by index.
        threshold: the minimum confidence of the student's boxes that count.
    """
    alone, is_met, sure = _matched(labels, student, threshold)
    overlaps = iou_matrix(student.boxes_xyxy[sure], labels.boxes_xyxy)
    found = []
    for row in alone:
        confidence = float(student.confidences[sure[row]])
        name = class_names[student.class_indices[sure[row]]]
        there = np.flatnonzero((overlaps[row] >= SAME_OBJECT_IOU) & ~is_met)
        other = f", labelled {class_names[labels.class_indices[there[0]]]}" if len(there) else ", which is not labelled"
        found.append(Disagreement(confidence, f"the student detects {name} {confidence:.2f}{other}"))
    for position in np.flatnonzero(~is_met).tolist():
        confidence = float(labels.confidences[position])
        name = class_names[labels.class_indices[position]]
        found.append(Disagreement(confidence, f"labelled {name} {confidence:.2f}, which the student does not detect"))
    return max(found, key=lambda one: one.confidence, default=None)


def _matched(
    labels: FrameLabels, student: FrameLabels, threshold: float
) -> tuple[list[int], npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return the student's confident boxes without a label, a mask of the matched labels, and all confident boxes.

    The confident boxes are rows of `student`, and the boxes without a label are positions among the confident boxes.

    Boxes of one class with an IoU of at least `SAME_OBJECT_IOU` are the same object. The student's boxes are matched in
    order of descending confidence. A further box on an object that is already matched is ignored.
    """
    sure = np.flatnonzero(student.confidences >= np.float32(threshold))
    overlaps = iou_matrix(student.boxes_xyxy[sure], labels.boxes_xyxy)
    is_same_class = student.class_indices[sure][:, None] == labels.class_indices[None, :]
    is_met = np.zeros(len(labels.confidences), np.bool_)
    alone = []
    for row in np.argsort(-student.confidences[sure], kind="stable").tolist():
        is_there = is_same_class[row] & (overlaps[row] >= SAME_OBJECT_IOU)
        if (is_there & ~is_met).any():
            is_met[int(np.argmax(np.where(is_there & ~is_met, overlaps[row], 0)))] = True
        elif not is_there.any():
            alone.append(row)
    return alone, is_met, sure
