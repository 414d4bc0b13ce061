"""The quality of labels, as measured by people's verdicts on boxes and by comparison with ground truth.

Belongs here: the stored records. Does not belong here: computing them (stages/evaluation/), or their files
(storage/quality.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimated value, such as a share or a threshold, with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """A person's judgement of one detected box. `frame` is the frame's number among the judged frames."""

    confidence: float
    is_right: bool
    frame: int


@dataclass(frozen=True, slots=True)
class JudgedObject:
    """One object in a randomly sampled frame, with the confidence of its detected box, or None if it has no box."""

    class_name: str
    confidence: float | None
    frame: int  # the frame's number among the judged frames


@dataclass(frozen=True, slots=True)
class ThresholdPrecision:
    """The precision of all boxes of a class at or above a confidence."""

    threshold: float
    precision: Estimate
    num_boxes: int


@dataclass(frozen=True, slots=True)
class ClassCalibration:
    """The calibration of one class, from people's verdicts on its boxes.

    `in_force` describes the project's current threshold, and `chosen` the lowest threshold whose estimated precision
    reaches the desired one. Both are None if there are too few verdicts. `in_force` is also None if no box reaches the
    current threshold. `chosen` is also None if no threshold reaches the desired precision. `knots` map a confidence to
    the probability that the box is right; both ascend.
    """

    num_answers: int
    num_right: int
    in_force: ThresholdPrecision | None
    chosen: ThresholdPrecision | None
    is_assured: bool  # the lower end of the interval also reaches the desired precision
    num_more: int  # the number of further verdicts that are needed
    remark: str  # the conclusion, on one line for people
    curve: tuple[ThresholdPrecision, ...]  # by ascending threshold; empty if there are too few verdicts
    knots: tuple[tuple[float, float], ...]
    is_pooled: bool  # the knots are shared by all classes, since this one has few verdicts
    answers: tuple[BoxAnswer, ...]
    strata: tuple[float, ...]  # the finite edges of the strata of confidence; an answer represents its stratum's boxes


@dataclass(frozen=True, slots=True)
class BoxCalibration:
    """The result of people's verdicts on the boxes of one detector and class list.

    It contains dates but no times of day, so equal verdicts give equal records.
    """

    detection_fingerprint: str
    detector: str
    wanted_precision: float
    classes: Mapping[str, ClassCalibration]
    objects: tuple[JudgedObject, ...]  # in the randomly sampled frames
    num_random_frames: int
    num_frames: int  # frames with at least one answer, or whose objects were all confirmed or drawn
    num_other_detector: int  # verdicts on boxes from another detector, which are left out
    verdicts_by_person: Mapping[str, int]
    first_day: str  # dates of the verdicts, ISO
    last_day: str

    @property
    def num_answers(self) -> int:
        """The number of judged boxes, over all classes."""
        return sum(found.num_answers for found in self.classes.values())


# --- against ground truth ---


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Precision, recall and F1 of the boxes at or above a confidence."""

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ClassEvaluation:
    """The quality of one class's boxes. Every figure is None, and the curve empty, if no object has the class.

    AP and AR are defined as in COCO: means over IoU .5 to .95, with at most 100 boxes per image. The curve, `best` (the
    point with the highest F1, whose threshold has an interval) and `in_force` (the point at the project's current
    threshold, or None if no box reaches it) refer to IoU .5. Without boxes, the curve is empty and `best` is None.
    """

    num_objects: int
    num_boxes: int
    ap: float | None
    ap50: float | None
    ar: float | None
    curve: tuple[CurvePoint, ...]  # by ascending threshold
    best: CurvePoint | None
    best_threshold: Estimate | None
    in_force: CurvePoint | None


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """Counts of objects by true class (rows) and by the class of the box that covers them (columns), at IoU .5.

    The last row counts boxes without an object, and the last column objects without a box. Only boxes at or above the
    threshold of their class count.
    """

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The quality of the stored detections, or of a release's boxes, measured against ground truth."""

    predictions: str  # "detections" or the version of a release
    detector: str
    detection_fingerprint: str
    truth: str  # the kind of ground truth: coco, yolo or reviewed
    truth_name: str  # the last part of the ground truth's path; empty for reviewed
    num_images: int
    num_objects: int
    num_boxes: int
    num_images_unmatched: int  # images of the ground truth that are not frames of the project
    figures: Mapping[str, float | None]  # AP, AP50, AP75 and AR of all objects, and AP and AR by object size
    classes: Mapping[str, ClassEvaluation]
    confusion: ConfusionMatrix
    class_names: tuple[str, ...]  # in order
