"""What a release says about the quality of its annotations, line by line."""

from dataclasses import replace

import numpy as np

from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.domain.quality import BoxCalibration, ClassCalibration, JudgedObject
from data_miner_dagster.stages.evaluation.confidence import JudgedBoxes, calibrate_class
from data_miner_dagster.stages.evaluation.quality import (
    QualityState,
    ThresholdOrigin,
    release_quality,
    threshold_origin,
)

CONFIDENCES = np.linspace(0.05, 0.95, 181).astype(np.float32).astype(np.float64)
NOTHING = JudgedBoxes.of(())


def calibrated(judged: JudgedBoxes) -> ClassCalibration:
    return calibrate_class(CONFIDENCES, judged, in_force=0.3, wanted=0.9, pooled=judged)


def calibration(cat: JudgedBoxes) -> BoxCalibration:
    return BoxCalibration(
        detection_fingerprint="now",
        detector="lite",
        wanted_precision=0.9,
        classes={"cat": calibrated(cat), "dog": calibrated(NOTHING)},
        objects=(JudgedObject("cat", 0.9, 0), JudgedObject("cat", 0.2, 1)),
        num_random_frames=2,
        num_frames=150,
        num_other_detector=0,
        verdicts_by_person={"Ada": 180, "Ben": 1},
        first_day="2026-01-02",
        last_day="2026-01-03",
    )


EVERY_BOX = JudgedBoxes(CONFIDENCES, CONFIDENCES >= 0.5, np.arange(len(CONFIDENCES)))
POPULATIONS = {"cat": CONFIDENCES, "dog": np.zeros(0)}


def test_release_quality__measured() -> None:
    found = release_quality("pets", ReleasingConfig(), POPULATIONS, calibration(EVERY_BOX), "now")
    assert found.state is QualityState.MEASURED
    # The 131 boxes are .30, .305, ..., .95. The 91 right ones are .50, ..., .95.
    assert found.precision is not None
    assert found.precision.value == 91 / 131
    assert found.precision_line == "69.5 % (95% interval 69.5 to 69.5), from 181 judged boxes on 150 frames"
    assert found.missed is not None
    assert found.missed_line.startswith("50.0 % (95% interval ")
    assert found.missed_line.endswith(", 1 of 2 objects in 2 random frames")
    assert (found.num_people, found.classes["cat"].num_answers) == (2, 181)
    assert found.classes["dog"].precision is None
    assert found.classes["cat"].origin is ThresholdOrigin.DEFAULT


def test_release_quality__not_measured() -> None:
    found = release_quality("pets", ReleasingConfig(), POPULATIONS, None, "now")
    assert (found.state, found.precision, found.missed) == (QualityState.NOT_MEASURED, None, None)
    assert found.precision_line == (
        "not measured; give verdicts on boxes in `data-miner review pets`, then run `data-miner calibrate pets --boxes`"
    )
    assert found.missed_line == (
        "not measured; judge frames of the random sample in `data-miner review pets`, then run "
        "`data-miner calibrate pets --boxes`"
    )


def test_release_quality__of_another_detector_is_not_used() -> None:
    found = release_quality("pets", ReleasingConfig(), POPULATIONS, calibration(EVERY_BOX), "later")
    assert (found.state, found.precision, found.missed) == (QualityState.OTHER_DETECTOR, None, None)
    assert "the calibration belongs to another detector or class list" in found.precision_line
    assert found.precision_line == found.missed_line
    assert found.classes["cat"].precision is None


def test_release_quality__a_class_with_boxes_and_too_few_verdicts() -> None:
    populations = {"cat": CONFIDENCES, "dog": CONFIDENCES}
    found = release_quality("pets", ReleasingConfig(), populations, calibration(EVERY_BOX), "now")
    assert found.precision is None
    assert found.precision_line == (
        "not measured for all classes: fewer than 20 verdicts on dog; give more in `data-miner review pets`, "
        "then run `data-miner calibrate pets --boxes`"
    )
    assert found.classes["cat"].precision is not None


def test_threshold_origin__default_file_and_calibrated() -> None:
    measured = calibration(EVERY_BOX)
    chosen = measured.classes["cat"].chosen
    assert chosen is not None
    default, own = ReleasingConfig(), ReleasingConfig(class_thresholds={"cat": 0.4})
    as_found = ReleasingConfig(class_thresholds={"cat": chosen.threshold})
    assert threshold_origin("cat", default, measured)[0] is ThresholdOrigin.DEFAULT
    assert threshold_origin("cat", own, measured) == (ThresholdOrigin.PROJECT_FILE, "set in the project file")
    assert threshold_origin("cat", ReleasingConfig(confidence_threshold=0.5), None)[0] is ThresholdOrigin.PROJECT_FILE
    assert threshold_origin("cat", as_found, measured) == (
        ThresholdOrigin.CALIBRATED,
        "calibrated for a precision of 0.9 with 181 verdicts, the last on 2026-01-03",
    )
    other = replace(measured, classes={"dog": measured.classes["dog"]})
    assert threshold_origin("cat", as_found, other)[0] is ThresholdOrigin.PROJECT_FILE
