"""Compute thresholds, precision, missed objects and probabilities from verdicts on boxes, for `calibrate --boxes`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_miner_dagster.catalog.pending import raise_content_versions
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.quality import BoxCalibration, JudgedObject
from data_miner_dagster.domain.verdicts import Verdict
from data_miner_dagster.operations.evaluation.reviewed_frames import (
    StoredDetections,
    reviewed_frames,
    stored_detections,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.evaluation.answers import FrameAnswers, ReviewedFrame, answers_on_frame
from data_miner_dagster.stages.evaluation.confidence import JudgedBoxes, calibrate_class
from data_miner_dagster.stages.evaluation.missing import MissedShare, missed_share
from data_miner_dagster.stages.reviewing.states import FrameClasses
from data_miner_dagster.storage.detections import confidences_by_class
from data_miner_dagster.storage.quality import read_box_calibration, write_quality


@dataclass(frozen=True, slots=True)
class CalibratedBoxes:
    """The result of `calibrate_boxes`, and the file in which the calibration is stored.

    A missed share is None if no frame of the random sample shows an object. `missed_at_chosen` is also None if no
    class has a chosen threshold.
    """

    calibration: BoxCalibration
    file: Path
    thresholds_in_force: Mapping[str, float]
    missed: MissedShare | None  # at the thresholds in force
    missed_at_chosen: MissedShare | None  # at the chosen thresholds; a class without one keeps its threshold in force
    num_unjudged: int  # boxes on complete frames, at or above their threshold, without a verdict; they count as wrong
    settings: Mapping[str, object]  # for the section `releasing` of the project file; empty if nothing was chosen

    @property
    def num_more(self) -> Mapping[str, int]:
        """The number of verdicts that each class still needs. Classes with enough verdicts are omitted."""
        return {name: found.num_more for name, found in self.calibration.classes.items() if found.num_more}


def calibrate_boxes(platform: Platform, project: str, *, wanted: float) -> CalibratedBoxes:
    """Find the threshold at which each class reaches a wanted precision, from all verdicts on boxes.

    A class that does not reach the precision gets no threshold. The calibration is stored under the root if it differs
    from the stored one, and the next build then includes it in a release.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        wanted: the precision to reach, which is the share of correct boxes among those at or above the threshold.

    Raises:
        ConfigError: the project does not exist, or `wanted` is not between 0 and 1, both exclusive.
        NotReadyError: detection has not run yet.
        OutOfDateError: a stored box belongs to a class that the project no longer has.
        DamagedFileError: a table of the project cannot be read.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    if not 0 < wanted < 1:
        raise ConfigError(f"a precision of {wanted:g} is not possible; give a number between 0 and 1, such as 0.9")
    with platform.hold_project(project):
        config = platform.project_config(project)
        detections = stored_detections(platform, project, config)
        gathered = _gather(platform, project, config, detections)
        in_force = {name: config.releasing.threshold_of(name) for name in detections.class_names}
        populations = confidences_by_class(platform.layout.detections_table(project), detections.class_names)
        pooled = gathered.pooled()
        calibration = BoxCalibration(
            detection_fingerprint=detections.revision,
            detector=detections.detector,
            wanted_precision=wanted,
            classes={
                name: calibrate_class(
                    populations[name], gathered.of_class(index), in_force=in_force[name], wanted=wanted, pooled=pooled
                )
                for index, name in enumerate(detections.class_names)
            },
            objects=tuple(gathered.objects),
            num_random_frames=gathered.num_random_frames,
            num_frames=gathered.num_frames,
            num_other_detector=gathered.num_other_detector,
            verdicts_by_person=dict(sorted(Counter(verdict.who for verdict in gathered.verdicts).items())),
            first_day=min((_day(verdict) for verdict in gathered.verdicts), default=""),
            last_day=max((_day(verdict) for verdict in gathered.verdicts), default=""),
        )
        file = platform.layout.box_calibration(project)
        if calibration != _before(file):
            write_quality(file, calibration)
            with platform.database.transaction() as session:
                raise_content_versions(session, [project])  # a release includes these measurements
    chosen = {name: found.chosen.threshold for name, found in calibration.classes.items() if found.chosen is not None}
    return CalibratedBoxes(
        calibration=calibration,
        file=file,
        thresholds_in_force=in_force,
        missed=missed_share(calibration.objects, in_force),
        missed_at_chosen=missed_share(calibration.objects, in_force | chosen) if chosen else None,
        num_unjudged=gathered.num_unjudged,
        settings={"class_thresholds": {**config.releasing.class_thresholds, **chosen}} if chosen else {},
    )


def _before(file: Path) -> BoxCalibration | None:
    try:
        return read_box_calibration(file)
    except DataMinerError:
        return None  # the file is damaged, so the caller rewrites it


def _day(verdict: Verdict) -> str:
    return verdict.given_at.date().isoformat()


@dataclass(slots=True)
class _Gathered:
    """The judged boxes on all reviewed frames, and the objects in complete frames of the random sample.

    `classes`, `confidences`, `is_right` and `frames` have one entry per judged box.
    """

    classes: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    is_right: list[bool] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    objects: list[JudgedObject] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    num_frames: int = 0
    num_random_frames: int = 0
    num_other_detector: int = 0
    num_unjudged: int = 0

    def add(self, frame: ReviewedFrame, answers: FrameAnswers, class_names: Sequence[str]) -> None:
        """Add the answers about one frame."""
        self.num_other_detector += answers.num_other_detector
        self.num_unjudged += answers.num_unjudged
        if not len(answers.positions) and answers.objects is None:
            return
        self.classes += frame.found.classes[answers.positions].tolist()
        self.confidences += frame.found.confidences[answers.positions].tolist()
        self.is_right += answers.is_right.tolist()
        self.frames += [self.num_frames] * len(answers.positions)
        self.verdicts += frame.verdicts
        if answers.objects is not None and frame.is_random:
            self.num_random_frames += 1
            self.objects += [
                JudgedObject(class_names[found.class_index], confidence, self.num_frames)
                for found, confidence in answers.objects
            ]
        self.num_frames += 1

    def pooled(self) -> JudgedBoxes:
        """Return the judged boxes of all classes."""
        return JudgedBoxes(
            np.array(self.confidences, np.float64),
            np.array(self.is_right, np.bool_),
            np.array(self.frames, np.int64),
        )

    def of_class(self, class_index: int) -> JudgedBoxes:
        """Return the judged boxes of one class."""
        both, is_own = self.pooled(), np.array(self.classes, np.int64) == class_index
        return JudgedBoxes(both.confidences[is_own], both.is_right[is_own], both.frames[is_own])


def _gather(platform: Platform, project: str, config: ProjectConfig, detections: StoredDetections) -> _Gathered:
    gathered, classes = _Gathered(), FrameClasses.of(config)
    for frame in reviewed_frames(platform, project, detections):
        gathered.add(frame, answers_on_frame(frame, classes, detections.revision), detections.class_names)
    return gathered
