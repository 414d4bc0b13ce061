"""Compare boxes with ground truth, for `data-miner evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.box_shares import pixels_of
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.quality import ClassEvaluation, Evaluation
from data_miner_dagster.domain.verdicts import RelativeBox
from data_miner_dagster.operations.evaluation.average_precision import ClassPrecision, average_precision
from data_miner_dagster.operations.evaluation.matching_images import MatchedImages, match_images
from data_miner_dagster.operations.evaluation.predictions import (
    PredictedFrame,
    Predictions,
    boxes_of_release,
    detections_of_project,
)
from data_miner_dagster.operations.evaluation.reviewed_frames import reviewed_frames, stored_detections
from data_miner_dagster.operations.evaluation.truth import Truth, TruthImage, TruthObject, read_truth
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import existing_version
from data_miner_dagster.operations.reporting.report import refresh_report
from data_miner_dagster.stages.evaluation.answers import ReviewedFrame, num_unjudged_boxes, stated_objects
from data_miner_dagster.stages.evaluation.boxes import FoundBoxes, TruthBoxes, match_all
from data_miner_dagster.stages.evaluation.confusion import confusion_matrix
from data_miner_dagster.stages.evaluation.curves import MatchedClass, class_curve, point_at
from data_miner_dagster.stages.evaluation.matching import IN_CROWD
from data_miner_dagster.stages.reviewing.states import FrameClasses
from data_miner_dagster.storage.quality import write_quality

REVIEWED: Final = "reviewed"
_GONE_REMEDY: Final = (
    "run `data-miner doctor --fix` and then `data-miner run --config FILE` to extract the missing frames again"
)


@dataclass(frozen=True, slots=True)
class EvaluationOutcome:
    """The result of `evaluate_boxes`. `remarks` tell the user what was left out and how to interpret the figures."""

    evaluation: Evaluation
    file: Path
    report: Path | None  # the page with the curves, or None without a release
    unmatched: tuple[str, ...]  # names of the ground-truth images that are not frames of the project
    remarks: tuple[str, ...]


def evaluate_boxes(platform: Platform, project: str, *, truth: str, version: str | None = None) -> EvaluationOutcome:
    """Compare a project's stored detections, or the boxes of one release, with ground truth.

    The figures are stored, and the report on the current release, if there is one, is rewritten.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        truth: the path of a COCO file, a YOLO folder or its `data.yaml`; or `reviewed` for the frames that people
            judged completely.
        version: the version of a release on disk, or None for the stored detections.

    Raises:
        ConfigError: the project, release or ground truth does not exist; the ground truth is invalid; none of its
            images is a frame of the project; none of its classes is a class of the project; or no frame was judged
            completely.
        NotReadyError: detection has not run yet.
        OutOfDateError: a stored box belongs to a class that the project no longer has.
        DataMinerError: the release was withdrawn, a file of the release or project is damaged, or none of the frames
            with ground truth is stored any more.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    config = platform.project_config(project)
    with platform.hold_project(project):
        if version is None:
            predictions = detections_of_project(platform, project, config)
        else:
            predictions = boxes_of_release(platform, project, existing_version(platform, project, version))
        if truth == REVIEWED:
            given, remarks = _reviewed(platform, project, config)
        else:
            given = read_truth(Path(truth).expanduser())
            remarks = given.remarks
        outcome = _compare(predictions, given, platform.layout.evaluation_file(project))
        write_quality(outcome.file, outcome.evaluation)
        report = refresh_report(platform, config)
    if truth == REVIEWED and version is not None:
        remarks += (
            "the release applies people's verdicts, so its figures are too good on frames that were judged before it "
            "was built",
        )
    return replace(outcome, report=report, remarks=(*remarks, *outcome.remarks))


def _reviewed(platform: Platform, project: str, config: ProjectConfig) -> tuple[Truth, tuple[str, ...]]:
    """Return the completely judged frames as ground truth, and remarks for the user.

    Raises:
        ConfigError: no frame has been judged completely.
        NotReadyError: detection has not run yet.
        OutOfDateError: a stored box belongs to a class that the project no longer has.
    """
    classes = FrameClasses.of(config)
    frames = reviewed_frames(platform, project, stored_detections(platform, project, config))
    judged = [frame for frame in frames if frame.is_complete]
    if not judged:
        raise ConfigError(
            f"no frame of {project!r} has been judged completely; judge some with `data-miner review {project}`, "
            "preferably in its queue `random`"
        )
    remarks = []
    if num_unjudged := sum(num_unjudged_boxes(frame, classes) for frame in judged):
        count = "box has no verdict and counts" if num_unjudged == 1 else "boxes have no verdict and count"
        remarks.append(f"{num_unjudged:,} {count} as wrong, although every judged frame is marked complete")
    if num_chosen := sum(not frame.is_random for frame in judged):
        are = "is" if num_chosen == 1 else "are"
        remarks.append(
            f"{num_chosen:,} of {counted(len(judged), 'judged frame')} {are} not from the random sample; frames from "
            "other queues are harder than average"
        )
    images = tuple(_reviewed_image(frame, classes) for frame in judged)
    return Truth(REVIEWED, "", classes.names, images), tuple(remarks)


def _reviewed_image(frame: ReviewedFrame, classes: FrameClasses) -> TruthImage:
    width, height = frame.resolution_wh
    objects = []
    for found in stated_objects(frame, classes):
        x_min, y_min, x_max, y_max = found.box_xyxy
        box: RelativeBox = (x_min / width, y_min / height, x_max / width, y_max / height)
        area = (box[2] - box[0]) * (box[3] - box[1])
        objects.append(TruthObject(classes.names[found.class_index], box, area))
    return TruthImage(frame.frame_id, tuple(objects), frame_id=frame.frame_id)


def _compare(predictions: Predictions, truth: Truth, file: Path) -> EvaluationOutcome:
    matched = match_images(truth.images, predictions.sha256_by_frame, predictions.sha256_by_frame)
    if not matched.images:
        if not truth.images:
            raise ConfigError(
                f"the ground truth {truth.name} lists no images; add images that are frames of the project"
            )
        first, num_images = truth.images[0].name, len(truth.images)
        which = f"none of the {num_images:,} ground-truth images (the first is {first}) is"
        if num_images == 1:
            which = f"the ground-truth image {first} is not"
        raise ConfigError(
            f"{which} a frame of the project; use images that can be matched by frame id, by the file name in a "
            "release, or by the sha256 of the image file"
        )
    names = tuple(name for name in predictions.class_names if name in truth.class_names)
    if not names:
        raise ConfigError(
            f"the ground truth ({', '.join(truth.class_names) or 'without classes'}) and the project "
            f"({', '.join(predictions.class_names)}) have no class in common; use the same class names in both"
        )
    frames = predictions.read(matched.images)
    gone = sorted(matched.images.keys() - {frame.frame_id for frame in frames})
    if not frames:
        raise DataMinerError(f"none of the frames with ground truth is stored any more ({_some(gone)}); {_GONE_REMEDY}")
    columns = _columns(frames, matched.images, predictions, names)
    evaluation = _evaluation(columns, predictions, names)
    remarks = _remarks(truth, predictions, matched, gone)
    evaluation = replace(
        evaluation, truth=truth.kind, truth_name=truth.name, num_images_unmatched=len(matched.unmatched)
    )
    return EvaluationOutcome(evaluation, file, None, matched.unmatched, remarks)


def _remarks(truth: Truth, predictions: Predictions, matched: MatchedImages, gone: Sequence[str]) -> tuple[str, ...]:
    lines = []
    unmatched, repeated = matched.unmatched, matched.repeated
    if unmatched:
        are = "image is not a frame" if len(unmatched) == 1 else "images are not frames"
        lines.append(f"{len(unmatched):,} ground-truth {are} of the project: {_some(unmatched)}")
    if repeated:
        lines.append(
            f"ground-truth images that match the same frame as an earlier image are left out: {_some(repeated)}"
        )
    if gone:
        are = "frame with ground truth is" if len(gone) == 1 else "frames with ground truth are"
        lines.append(
            f"{len(gone):,} {are} left out, since the stored frames are missing: {_some(gone)}; {_GONE_REMEDY}"
        )
    if unknown := [name for name in truth.class_names if name not in predictions.class_names]:
        lines.append(f"objects of classes that the project does not have are left out: {_some(unknown)}")
    if unjudged := [name for name in predictions.class_names if name not in truth.class_names]:
        lines.append(f"boxes of classes that the ground truth does not have are left out: {_some(unjudged)}")
    return tuple(lines)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(frozen=True, slots=True)
class _Columns:
    truth: TruthBoxes
    found: FoundBoxes
    resolutions_wh: list[tuple[int, int]]


def _columns(
    frames: Sequence[PredictedFrame],
    images: Mapping[str, TruthImage],
    predictions: Predictions,
    names: Sequence[str],
) -> _Columns:
    """Return the ground-truth objects in the frames and the detected boxes on them as arrays, in pixels.

    Classes are numbered by their position in `names`. Objects and boxes of other classes are left out.
    """
    positions = np.array([names.index(name) if name in names else -1 for name in predictions.class_names], np.int64)
    objects = [
        (number, names.index(found.class_name), pixels_of(found.box, frame.resolution_wh), found, frame.resolution_wh)
        for number, frame in enumerate(frames)
        for found in images[frame.frame_id].objects
        if found.class_name in names
    ]
    truth = TruthBoxes(
        np.array([row[0] for row in objects], np.int64),
        np.array([row[1] for row in objects], np.int64),
        np.array([row[2] for row in objects], np.float64).reshape(-1, 4),
        np.array([row[3].is_crowd for row in objects], np.bool_),
        np.array([row[3].area * row[4][0] * row[4][1] for row in objects], np.float64),
    )
    numbers = np.repeat(np.arange(len(frames)), [len(frame.found.classes) for frame in frames])
    classes = positions[np.concatenate([frame.found.classes for frame in frames])]
    is_judged = classes >= 0
    found = FoundBoxes(
        numbers[is_judged],
        classes[is_judged],
        np.concatenate([frame.found.confidences for frame in frames])[is_judged],
        np.concatenate([frame.found.boxes_xyxy for frame in frames])[is_judged],
    )
    return _Columns(truth, found, [frame.resolution_wh for frame in frames])


def _evaluation(columns: _Columns, predictions: Predictions, names: Sequence[str]) -> Evaluation:
    truth, found = columns.truth, columns.found
    averages = average_precision(truth, found, columns.resolutions_wh, len(names))
    matches = match_all(truth, found)
    classes: dict[str, ClassEvaluation] = {}
    for index, name in enumerate(names):
        is_own = (found.classes == index) & (matches != IN_CROWD)
        matched = MatchedClass(
            found.confidences[is_own],
            matches[is_own] >= 0,
            found.frames[is_own],
            truth.frames[(truth.classes == index) & ~truth.is_crowd],
        )
        classes[name] = _class_evaluation(matched, averages.classes[index], predictions.thresholds[name])
    return Evaluation(
        predictions=predictions.name,
        detector=predictions.detector,
        detection_fingerprint=predictions.fingerprint,
        truth="",
        truth_name="",
        num_images=len(columns.resolutions_wh),
        num_objects=int((~truth.is_crowd).sum()),
        num_boxes=len(found.frames),
        num_images_unmatched=0,
        figures=averages.figures,
        classes=classes,
        confusion=confusion_matrix(truth, found, names, [predictions.thresholds[name] for name in names]),
        class_names=tuple(names),
    )


def _class_evaluation(matched: MatchedClass, precision: ClassPrecision, threshold: float) -> ClassEvaluation:
    curve = class_curve(matched)
    return ClassEvaluation(
        num_objects=len(matched.object_frames),
        num_boxes=len(matched.confidences),
        ap=precision.ap,
        ap50=precision.ap50,
        ar=precision.ar,
        curve=curve.points if curve is not None else (),
        best=curve.best if curve is not None else None,
        best_threshold=curve.best_threshold if curve is not None else None,
        in_force=point_at(matched, threshold),
    )
