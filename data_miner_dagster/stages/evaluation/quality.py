"""State how good a release's labels are: measured precision, missed objects, and the origin of its thresholds.

Precision is measured for the detector's boxes at the release's thresholds, over all examined frames, before people's
corrections. Missed objects are measured on the random sample of frames at the same thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.quality import BoxCalibration, Estimate
from data_miner_dagster.stages.estimates import FEWEST_ANSWERS, Float64Array
from data_miner_dagster.stages.evaluation.confidence import (
    JudgedBoxes,
    has_enough,
    overall_precision,
    precision_at,
)
from data_miner_dagster.stages.evaluation.missing import MissedShare, missed_share


class QualityState(StrEnum):
    """Whether the quality of a release was measured."""

    MEASURED = "measured"
    OTHER_DETECTOR = "other_detector"  # the calibration belongs to another detector or class list
    NOT_MEASURED = "not_measured"


class ThresholdOrigin(StrEnum):
    """The origin of a class's threshold."""

    DEFAULT = "default"
    PROJECT_FILE = "project_file"
    CALIBRATED = "calibrated"


@dataclass(frozen=True, slots=True)
class ClassQuality:
    """The measured quality of one class. `precision` and `missed` are None if they were not measured."""

    threshold: float
    origin: ThresholdOrigin
    origin_line: str  # a description of `origin`
    num_answers: int  # judged boxes
    precision: Estimate | None
    missed: MissedShare | None


@dataclass(frozen=True, slots=True)
class ReleaseQuality:
    """The measured quality of a release.

    `precision` and `missed` are None if they were not measured. `precision_line` and `missed_line` describe them in
    words, or state how to measure them. Without a calibration for the current boxes, the counts are 0 and the days are
    empty.
    """

    state: QualityState
    precision: Estimate | None
    missed: MissedShare | None
    precision_line: str
    missed_line: str
    num_answers: int  # judged boxes
    num_frames: int  # frames with a judged box, or whose objects were all stated
    num_random_frames: int
    num_people: int
    first_day: str  # the ISO date of the first verdict
    last_day: str
    classes: Mapping[str, ClassQuality]


def release_quality(
    project: str,
    releasing: ReleasingConfig,
    populations: Mapping[str, Float64Array],
    calibration: BoxCalibration | None,
    detection_fingerprint: str,
) -> ReleaseQuality:
    """Return the measured quality of a release.

    Args:
        project: the project's name, for the commands in the remedies.
        releasing: the settings of the release.
        populations: confidences of all stored boxes by class, ascending.
        calibration: the calibration from people's verdicts, or None if the project has no calibration.
        detection_fingerprint: fingerprint of the current detector and class list.
    """
    thresholds = {name: releasing.threshold_of(name) for name in populations}
    is_present = calibration is not None and calibration.detection_fingerprint == detection_fingerprint
    present = calibration if is_present else None
    known = present.classes if present is not None else {}
    judged = {
        name: JudgedBoxes.of(known[name].answers, known[name].strata) if name in known else JudgedBoxes.of(())
        for name in populations
    }
    objects = present.objects if present is not None else ()
    precision = overall_precision(populations, judged, thresholds) if present is not None else None
    missed = missed_share(objects, thresholds)
    unmeasured = _unmeasured(populations, judged, thresholds)
    state = QualityState.NOT_MEASURED
    if calibration is not None and not is_present:
        state = QualityState.OTHER_DETECTOR
    elif missed is not None or any(has_enough(populations[name], of_class) for name, of_class in judged.items()):
        state = QualityState.MEASURED
    return ReleaseQuality(
        state=state,
        precision=precision,
        missed=missed,
        precision_line=_precision_line(project, precision, present, unmeasured, state),
        missed_line=_missed_line(project, missed, present, state),
        num_answers=present.num_answers if present is not None else 0,
        num_frames=present.num_frames if present is not None else 0,
        num_random_frames=present.num_random_frames if present is not None else 0,
        num_people=len(present.verdicts_by_person) if present is not None else 0,
        first_day=present.first_day if present is not None else "",
        last_day=present.last_day if present is not None else "",
        classes={
            name: _class_quality(name, releasing, populations[name], judged[name], present) for name in populations
        },
    )


def _class_quality(
    name: str,
    releasing: ReleasingConfig,
    population: Float64Array,
    judged: JudgedBoxes,
    calibration: BoxCalibration | None,
) -> ClassQuality:
    threshold = releasing.threshold_of(name)
    origin, line = threshold_origin(name, releasing, calibration)
    found = precision_at(population, judged, threshold) if has_enough(population, judged) else None
    objects = calibration.objects if calibration is not None else ()
    return ClassQuality(
        threshold=threshold,
        origin=origin,
        origin_line=line,
        num_answers=len(judged.confidences),
        precision=found.precision if found is not None else None,
        missed=missed_share(objects, {name: threshold}),
    )


def threshold_origin(
    name: str, releasing: ReleasingConfig, calibration: BoxCalibration | None
) -> tuple[ThresholdOrigin, str]:
    """Return the origin of a class's threshold, and a description of that origin."""
    threshold = releasing.threshold_of(name)
    of_class = calibration.classes.get(name) if calibration is not None else None
    chosen = of_class.chosen if of_class is not None else None
    if calibration is not None and of_class is not None and chosen is not None and chosen.threshold == threshold:
        return ThresholdOrigin.CALIBRATED, (
            f"calibrated for a precision of {calibration.wanted_precision:g} with "
            f"{counted(of_class.num_answers, 'verdict')}, "
            f"the last on {calibration.last_day}"
        )
    default = ReleasingConfig.model_fields["confidence_threshold"].default
    if name not in releasing.class_thresholds and threshold == default:
        return ThresholdOrigin.DEFAULT, "the default"
    return ThresholdOrigin.PROJECT_FILE, "set in the project file"


def _unmeasured(
    populations: Mapping[str, Float64Array], judged: Mapping[str, JudgedBoxes], thresholds: Mapping[str, float]
) -> list[str]:
    """Return the classes that have boxes at or above their thresholds but too few verdicts."""
    return [
        name
        for name, population in populations.items()
        if (population >= np.float32(thresholds[name])).any() and not has_enough(population, judged[name])
    ]


def _precision_line(
    project: str,
    precision: Estimate | None,
    calibration: BoxCalibration | None,
    unmeasured: list[str],
    state: QualityState,
) -> str:
    if state is QualityState.OTHER_DETECTOR:
        return _of_another_detector(project)
    if precision is not None and calibration is not None:
        return (
            f"{_text(precision)}, from {counted(calibration.num_answers, 'judged box', 'judged boxes')} on "
            f"{counted(calibration.num_frames, 'frame')}"
        )
    if calibration is not None and state is QualityState.MEASURED and unmeasured:
        return (
            f"not measured for all classes: fewer than {FEWEST_ANSWERS} verdicts on {', '.join(unmeasured)}; "
            f"give more in `data-miner review {project}`, then run `data-miner calibrate {project} --boxes`"
        )
    return (
        f"not measured; give verdicts on boxes in `data-miner review {project}`, then run "
        f"`data-miner calibrate {project} --boxes`"
    )


def _missed_line(
    project: str, missed: MissedShare | None, calibration: BoxCalibration | None, state: QualityState
) -> str:
    if state is QualityState.OTHER_DETECTOR:
        return _of_another_detector(project)
    if missed is None or calibration is None:
        return (
            f"not measured; judge frames of the random sample in `data-miner review {project}`, then run "
            f"`data-miner calibrate {project} --boxes`"
        )
    return (
        f"{_text(missed.share)}, {missed.num_missed:,} of {counted(missed.num_objects, 'object')} in "
        f"{counted(calibration.num_random_frames, 'random frame')}"
    )


def _of_another_detector(project: str) -> str:
    return (
        "not measured: the calibration belongs to another detector or class list; "
        f"run `data-miner calibrate {project} --boxes` again"
    )


def _text(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f} % (95% interval {100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
