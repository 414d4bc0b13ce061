"""Derive from the verdicts on one frame which of its boxes are right and which objects it shows.

Pure functions. Does not belong here: the effect of a verdict on a release (stages/reviewing/), or reading verdicts
(operations/).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data_miner_dagster.domain.box_shares import BoxXyxy, pixels_of
from data_miner_dagster.domain.verdicts import BOX_WORDS, SAME_BOX_IOU, Verdict, VerdictWord
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.stages.estimates import BoolArray, Float64Array, Int64Array
from data_miner_dagster.stages.evaluation.matching import match_boxes
from data_miner_dagster.stages.reviewing.judging import judge_boxes
from data_miner_dagster.stages.reviewing.states import FrameClasses


@dataclass(frozen=True, slots=True)
class FoundOnFrame:
    """The N boxes that were detected on one frame, in absolute pixels."""

    classes: Int64Array  # (N,) positions in the class list
    confidences: Float64Array  # (N,)
    boxes_xyxy: Float64Array  # (N, 4)


@dataclass(frozen=True, slots=True)
class TruthObject:
    """An object that a person confirmed or drew, in absolute pixels."""

    class_index: int
    box_xyxy: BoxXyxy


@dataclass(frozen=True, slots=True)
class ReviewedFrame:
    """One frame with its detected boxes and people's verdicts."""

    frame_id: str
    resolution_wh: tuple[int, int]
    found: FoundOnFrame
    verdicts: tuple[Verdict, ...]
    is_random: bool = False  # belongs to the random sample, and is complete (stages/sampling.py)

    @property
    def is_complete(self) -> bool:
        """True if a person marked the frame as complete, so every object has a box."""
        return any(verdict.word is VerdictWord.COMPLETE for verdict in self.verdicts)


@dataclass(frozen=True, slots=True)
class FrameAnswers:
    """Facts about one frame that follow from its verdicts.

    `objects` is None unless the frame was judged completely. Only then are all of its objects known.
    """

    positions: Int64Array  # (A,) the boxes that are known to be right or wrong
    is_right: BoolArray  # (A,)
    objects: tuple[tuple[TruthObject, float | None], ...] | None  # each with the confidence of its detected box, if any
    num_other_detector: int  # verdicts on boxes from another detector or class list
    num_unjudged: int  # boxes at or above their threshold, on a complete frame, that have no verdict


def stated_objects(frame: ReviewedFrame, classes: FrameClasses) -> tuple[TruthObject, ...]:
    """Return the objects that follow from the verdicts in force, regardless of detections."""
    judgement = judge_boxes((), frame.verdicts, classes, frame.resolution_wh)
    return tuple(TruthObject(box.class_index, box.box_xyxy) for box in judgement.boxes)


def answers_on_frame(frame: ReviewedFrame, classes: FrameClasses, revision: str) -> FrameAnswers:
    """Return the facts that the verdicts imply about a frame's boxes.

    On a frame that was judged completely, a box is right if it matches an object that a person confirmed or drew. On
    other frames, only the current detector's boxes that were shown to a person are known to be right or wrong. Such a
    box is right if the person confirmed it, or moved it to a position that overlaps the old one enough.

    Args:
        frame: the frame, with the verdicts in force.
        classes: the classes of the project.
        revision: fingerprint of the current detector and class list.
    """
    on_boxes = [verdict for verdict in frame.verdicts if verdict.word in BOX_WORDS]
    shown = [verdict for verdict in on_boxes if verdict.word is not VerdictWord.MISSING]
    present = [verdict for verdict in shown if verdict.shown is not None and verdict.shown.revision == revision]
    num_other = len(shown) - len(present)
    if frame.is_complete:
        objects = stated_objects(frame, classes)
        matched = matched_objects(frame.found, objects, classes)
        is_right = matched >= 0
        confidences: list[float | None] = [None] * len(objects)
        for position in np.flatnonzero(is_right).tolist():
            confidences[int(matched[position])] = float(frame.found.confidences[position])
        pairs = tuple(zip(objects, confidences, strict=True))
        return FrameAnswers(
            np.arange(len(matched)), is_right, pairs, num_other, num_unjudged=num_unjudged_boxes(frame, classes)
        )
    positions, is_right = _answered(frame, present, classes)
    return FrameAnswers(positions, is_right, None, num_other, num_unjudged=0)


def num_unjudged_boxes(frame: ReviewedFrame, classes: FrameClasses) -> int:
    """Return the number of boxes at or above their class's threshold that match no box that a person was shown or drew.

    On a complete frame, unjudged boxes (for example from a later detector) are wrong, since every object has a box.
    """
    found = frame.found
    thresholds = np.array([found_range.threshold for found_range in classes.ranges], np.float32)
    is_sure = found.confidences.astype(np.float32) >= thresholds[found.classes]
    is_known = np.zeros(len(is_sure), np.bool_)
    for verdict in frame.verdicts:
        if verdict.shown is None:
            continue
        for name, box in (
            (verdict.shown.class_name, verdict.shown.box),
            (verdict.final_class_name, verdict.final_box),
        ):
            if box is not None and name in classes.names:
                overlaps = _overlaps(found, pixels_of(box, frame.resolution_wh))
                is_known |= (found.classes == classes.names.index(name)) & (overlaps >= SAME_BOX_IOU)
    return int((is_sure & ~is_known).sum())


def matched_objects(found: FoundOnFrame, objects: Sequence[TruthObject], classes: FrameClasses) -> Int64Array:
    """Return the (N,) positions in `objects` of the objects that the boxes match, or -1 where no object matches.

    A box matches only objects of its class. Each object is matched by at most one box: by descending confidence, each
    box takes the unmatched object that it overlaps most, if their IoU is at least `SAME_BOX_IOU`.
    """
    matches = np.full(len(found.classes), -1, np.int64)
    for class_index in range(len(classes.names)):
        rows = np.flatnonzero(found.classes == class_index)
        own = [position for position, found_object in enumerate(objects) if found_object.class_index == class_index]
        if not len(rows) or not own:
            continue
        truth = np.array([objects[position].box_xyxy for position in own], np.float64)
        inside = match_boxes(found.boxes_xyxy[rows], found.confidences[rows], truth, np.zeros(len(own), np.bool_))
        matches[rows] = np.where(inside >= 0, np.array(own, np.int64)[inside], -1)
    return matches


def _answered(frame: ReviewedFrame, verdicts: Iterable[Verdict], classes: FrameClasses) -> tuple[Int64Array, BoolArray]:
    """Match verdicts with boxes one to one. Return the boxes, in the verdicts' order, and whether each is right."""
    positions: list[int] = []
    is_right: list[bool] = []
    for verdict in verdicts:
        if verdict.shown is None or verdict.shown.class_name not in classes.names:
            continue
        overlaps = _overlaps(frame.found, pixels_of(verdict.shown.box, frame.resolution_wh))
        overlaps[frame.found.classes != classes.names.index(verdict.shown.class_name)] = 0
        overlaps[positions] = 0
        if len(overlaps) and overlaps.max() >= SAME_BOX_IOU:
            positions.append(int(overlaps.argmax()))
            is_right.append(_is_right(verdict))
    return np.array(positions, np.int64), np.array(is_right, np.bool_)


def _is_right(verdict: Verdict) -> bool:
    if verdict.word is VerdictWord.SHIFTED and verdict.shown is not None and verdict.new_box is not None:
        boxes = np.array([verdict.shown.box, verdict.new_box], np.float64)
        return bool(iou_matrix(boxes[:1], boxes[1:])[0, 0] >= SAME_BOX_IOU)
    return verdict.word is VerdictWord.RIGHT


def _overlaps(found: FoundOnFrame, box_xyxy: BoxXyxy) -> Float64Array:
    return iou_matrix(found.boxes_xyxy, np.array([box_xyxy], np.float64))[:, 0]
