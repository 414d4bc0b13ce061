"""The command `evaluate`: measure boxes against ground truth."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.box_calibration import estimate_text
from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    RootOption,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.progress import steps_on_stderr
from data_miner_dagster.domain.json_records import as_json as as_content
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.domain.quality import CurvePoint, Evaluation
    from data_miner_dagster.operations.evaluation.evaluate import EvaluationOutcome


def evaluate(
    target: Annotated[
        str, typer.Argument(help="PROJECT to evaluate all stored detections, or PROJECT/VERSION for a release.")
    ],
    truth: Annotated[
        str,
        typer.Option(
            help="The ground truth: a COCO file, a YOLO folder, or `reviewed` for frames that people fully judged."
        ),
    ],
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate boxes against ground truth: AP, AR, the best threshold of each class, and the confusion matrix."""
    from data_miner_dagster.operations.evaluation.evaluate import evaluate_boxes

    project, _, version = target.partition("/")
    platform = opened_existing(root, config, profile)
    with steps_on_stderr():
        outcome = evaluate_boxes(platform, project, truth=truth, version=version or None)
    if as_json:
        print_json(
            as_content(outcome.evaluation)
            | {
                "unmatched": list(outcome.unmatched),
                "remarks": list(outcome.remarks),
                "file": str(outcome.file),
                "report": str(outcome.report) if outcome.report else None,
            }
        )
        return
    _show(outcome)


def _show(outcome: "EvaluationOutcome") -> None:
    evaluation = outcome.evaluation
    what = (
        "stored detections" if evaluation.predictions == "detections" else f"boxes in release {evaluation.predictions}"
    )
    echo(
        f"{what} from {evaluation.detector} against {evaluation.truth_name or 'verdicts by people'}: "
        f"{counted(evaluation.num_images, 'image')}, {counted(evaluation.num_objects, 'object')}, "
        f"{counted(evaluation.num_boxes, 'box', 'boxes')}"
    )
    echo(", ".join(f"{name} {_figure(evaluation.figures[name])}" for name in ("AP", "AP50", "AP75", "AR")))
    print_table(
        (
            "class",
            "objects",
            "AP",
            "AP50",
            "AR",
            "precision",
            "recall",
            "F1",
            "best threshold (95% interval)",
            "F1 there",
        ),
        [
            (
                name,
                of_class.num_objects,
                _figure(of_class.ap),
                _figure(of_class.ap50),
                _figure(of_class.ar),
                *_point(of_class.in_force),
                estimate_text(of_class.best_threshold) if of_class.best_threshold else "unknown",
                _figure(of_class.best.f1 if of_class.best else None),
            )
            for name in evaluation.class_names
            for of_class in (evaluation.classes[name],)
        ],
        numbers=("objects", "AP", "AP50", "AR", "precision", "recall", "F1", "F1 there"),
    )
    _show_confusion(evaluation)
    for line in outcome.remarks:
        echo(line, err=True)
    curves = f", and the curves in {outcome.report}" if outcome.report else ""
    echo(f"the evaluation is stored in {outcome.file}{curves}")


def _show_confusion(evaluation: "Evaluation") -> None:
    matrix = evaluation.confusion
    rows = [*matrix.class_names, "no object"]
    columns = [*matrix.class_names, "no box"]
    print_table(
        ["object \\ box", *columns],
        [[name, *counts] for name, counts in zip(rows, matrix.counts, strict=True)],
        numbers=columns,
    )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _point(point: "CurvePoint | None") -> tuple[str, str, str]:
    return ("–", "–", "–") if point is None else (_figure(point.precision), _figure(point.recall), _figure(point.f1))
