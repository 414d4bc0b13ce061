"""Derive the label quality of a release from people's verdicts: a probability for each box, and overall figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.json_records import as_json
from data_miner_dagster.domain.quality import BoxCalibration
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.labelling import WORDS_ON_BOXES, Labelling, VerdictsByFrame
from data_miner_dagster.stages.evaluation.confidence import probabilities
from data_miner_dagster.stages.evaluation.quality import release_quality
from data_miner_dagster.storage.detections import confidences_by_class
from data_miner_dagster.storage.quality import quality_fingerprint, read_box_calibration
from data_miner_dagster.storage.tables import read_batches


@dataclass(frozen=True, slots=True)
class BoxProbabilities:
    """The stored calibration of a project's boxes, and the fingerprint of the current detector and class list.

    If the calibration belongs to another detector or class list, it gives no probabilities.
    """

    calibration: BoxCalibration
    detection_fingerprint: str  # identifies the current detector and class list

    @property
    def settings(self) -> Mapping[str, object]:
        """The calibration's part of a release's fingerprint.

        A calibration for another detector is included too, since the release states that there is one.
        """
        return {"boxes": quality_fingerprint(self.calibration)}

    def calibrated(self, class_name: str, confidence: float) -> float | None:
        """Return the probability that a box with this class and confidence is right, or None if it is unknown."""
        found = self.calibration.classes.get(class_name)
        if found is None or not found.knots or self.calibration.detection_fingerprint != self.detection_fingerprint:
            return None
        return float(probabilities(found.knots, np.array([confidence], np.float64))[0])


def box_probabilities(platform: Platform, project: str) -> BoxProbabilities | None:
    """Return the stored calibration of a project's boxes, or None if the project has no calibration.

    Raises:
        DataMinerError: the stored calibration cannot be read.
    """
    calibration = read_box_calibration(platform.layout.box_calibration(project))
    if calibration is None:
        return None
    return BoxProbabilities(calibration, _detection_fingerprint(platform, project))


def labelling_of(platform: Platform, config: ProjectConfig) -> Labelling:
    """Return the labelling of a project's frames with the current settings, verdicts in force and calibration.

    Raises:
        DataMinerError: the stored calibration cannot be read.
    """
    verdicts = VerdictsByFrame(verdicts_in_force(platform.database, config.name, words=WORDS_ON_BOXES))
    return Labelling(config, verdicts, box_probabilities(platform, config.name))


def quality_content(
    platform: Platform, config: ProjectConfig, *, boxes_by_verdict: Mapping[str, int]
) -> dict[str, Any]:
    """Return the section of a release's manifest on the quality of its labels.

    Args:
        platform: the platform of one root.
        config: the project's configuration.
        boxes_by_verdict: the number of released boxes that a person has judged, by verdict.

    Raises:
        DataMinerError: the stored calibration cannot be read.
    """
    known = box_probabilities(platform, config.name)
    populations = confidences_by_class(platform.layout.detections_table(config.name), tuple(config.detection.classes))
    quality = release_quality(
        config.name,
        config.releasing,
        populations,
        known.calibration if known is not None else None,
        known.detection_fingerprint if known is not None else "",
    )
    return {**as_json(quality), "num_boxes_seen_by_people": sum(boxes_by_verdict.values())}


def _detection_fingerprint(platform: Platform, project: str) -> str:
    path = platform.layout.detected_frames_table(project)
    for batch in read_batches(path, ["detection_fingerprint"]) if path.is_file() else ():
        if len(batch):
            fingerprint: str = batch["detection_fingerprint"][0].as_py()
            return fingerprint
    return ""
