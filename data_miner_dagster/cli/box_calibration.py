"""The output of `data-miner calibrate PROJECT --boxes`."""

from typing import TYPE_CHECKING, Final

from data_miner_dagster.cli.options import said_again
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.settings_to_write import settings_json, show_settings
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.domain.quality import ClassCalibration, Estimate, ThresholdPrecision
    from data_miner_dagster.operations.evaluation.calibration import CalibratedBoxes
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.stages.evaluation.missing import MissedShare

DEFAULT_PRECISION: Final = 0.9


def show_box_calibration(
    platform: "Platform", found: "CalibratedBoxes", project: str, *, is_to_be_written: bool, as_json: bool
) -> None:
    """Print thresholds, precision and missed objects, then print the settings or write them to the project file.

    With `as_json`, one JSON object is printed instead. In either case, `is_to_be_written` says whether the settings are
    written.
    """
    if as_json:
        settings = settings_json(platform, project, "releasing", found.settings, is_to_be_written=is_to_be_written)
        print_json(_content(found) | settings)
        return
    calibration = found.calibration
    print_table(
        (
            "class",
            "verdicts",
            "threshold in force",
            "precision (95% interval)",
            f"threshold for a precision of {calibration.wanted_precision:g}",
            "precision there (95% interval)",
        ),
        [
            (
                name,
                of_class.num_answers,
                f"{found.thresholds_in_force[name]:.4g}",
                _precision(of_class.in_force),
                f"{of_class.chosen.threshold:.4f}" if of_class.chosen else "unknown",
                _precision(of_class.chosen),
            )
            for name, of_class in calibration.classes.items()
        ],
        numbers=("verdicts", "threshold in force"),
    )
    for name, of_class in calibration.classes.items():
        echo(f"{name}: {of_class.remark}")
    echo(_missed_line(found))
    people = ", ".join(f"{who} {number}" for who, number in calibration.verdicts_by_person.items())
    days = " to ".join(dict.fromkeys(day for day in (calibration.first_day, calibration.last_day) if day))
    echo(
        f"{counted(calibration.num_answers, 'box', 'boxes')} from {calibration.detector} "
        f"{'was' if calibration.num_answers == 1 else 'were'} judged on {counted(calibration.num_frames, 'frame')}"
        + (f" ({days}; verdicts: {people})" if people else "")
    )
    if calibration.num_other_detector:
        number = calibration.num_other_detector
        what = counted(number, "verdict on a box", "verdicts on boxes")
        echo(f"left out: {what} from another detector or class list")
    if found.num_unjudged:
        echo(
            f"{counted(found.num_unjudged, 'unjudged box counts', 'unjudged boxes count')} as wrong, because people "
            f"have marked {'its frame' if found.num_unjudged == 1 else 'their frames'} as complete"
        )
    echo(f"the calibration is stored in {found.file}")
    show_settings(platform, project, "releasing", found.settings, is_to_be_written=is_to_be_written)
    if found.num_more or found.missed is None:
        wanted = ", ".join(f"{number} for {name}" for name, number in found.num_more.items())
        what = f"more verdicts are needed ({wanted})" if wanted else "verdicts on the random sample are needed"
        echo(f"{what}; give them in `data-miner review {project}{said_again(with_config=True)}`")


def _missed_line(found: "CalibratedBoxes") -> str:
    if found.missed is None:
        return "missed objects: not measured; label all objects in the frames of the random sample to measure them"
    line = f"missed objects: {_missed(found.missed)} in {counted(found.calibration.num_random_frames, 'random frame')}"
    if found.missed_at_chosen is not None:
        line += f"; {estimate_text(found.missed_at_chosen.share)} at the new thresholds"
    return line


def _missed(missed: "MissedShare") -> str:
    return f"{estimate_text(missed.share)}, {missed.num_missed} of {missed.num_objects}"


def _precision(found: "ThresholdPrecision | None") -> str:
    return estimate_text(found.precision) if found is not None else "unknown"


def estimate_text(estimate: "Estimate") -> str:
    """Return an estimate with its interval as text: `0.91 (0.85 to 0.95)`."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _content(found: "CalibratedBoxes") -> dict[str, object]:
    calibration = found.calibration
    return {
        "detector": calibration.detector,
        "detection_fingerprint": calibration.detection_fingerprint,
        "wanted_precision": calibration.wanted_precision,
        "num_answers": calibration.num_answers,
        "num_frames": calibration.num_frames,
        "num_other_detector": calibration.num_other_detector,
        "num_unjudged": found.num_unjudged,
        "verdicts_by_person": dict(calibration.verdicts_by_person),
        "first_day": calibration.first_day,
        "last_day": calibration.last_day,
        "classes": {
            name: _class_content(of_class, found.thresholds_in_force[name])
            for name, of_class in calibration.classes.items()
        },
        "num_random_frames": calibration.num_random_frames,
        "missed": _missed_content(found.missed),
        "missed_at_chosen": _missed_content(found.missed_at_chosen),
        "file": str(found.file),
    }


def _class_content(found: "ClassCalibration", in_force: float) -> dict[str, object]:
    return {
        "num_answers": found.num_answers,
        "num_right": found.num_right,
        "num_more": found.num_more,
        "remark": found.remark,
        "is_assured": found.is_assured,
        "in_force": {"threshold": in_force} | _precision_content(found.in_force),
        "chosen": _precision_content(found.chosen) or None,
        "curve": [_precision_content(point) for point in found.curve],
        "probabilities": [list(knot) for knot in found.knots],
        "is_pooled": found.is_pooled,
    }


def _precision_content(found: "ThresholdPrecision | None") -> dict[str, object]:
    if found is None:
        return {}
    precision = found.precision
    return {
        "threshold": found.threshold,
        "num_boxes": found.num_boxes,
        "precision": {"value": precision.value, "low": precision.low, "high": precision.high},
    }


def _missed_content(missed: "MissedShare | None") -> dict[str, object] | None:
    if missed is None:
        return None
    share = missed.share
    return {
        "num_objects": missed.num_objects,
        "num_missed": missed.num_missed,
        "share": {"value": share.value, "low": share.low, "high": share.high},
    }
