"""The command `calibrate`: compute thresholds from people's answers about frames, or about boxes with --boxes."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.box_calibration import DEFAULT_PRECISION, show_box_calibration
from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.settings_to_write import settings_json, show_settings
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.domain.quality import Estimate
    from data_miner_dagster.operations.filtering.calibration import CalibratedThreshold, CalibrationSheet
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.stages.filtering.calibration import ThresholdQuality


def calibrate(
    project: ProjectArgument,
    precision: Annotated[
        float | None,
        typer.Option(help="The desired share of good frames (or correct boxes) among those kept, such as 0.9."),
    ] = None,
    recall: Annotated[
        float | None, typer.Option(help="The desired share of good frames that are kept, such as 0.9.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="A CSV file with the columns frame_id and answer (keep or drop).")
    ] = None,
    frames: Annotated[int, typer.Option(min=20, max=5000, help="The number of frames to ask about.")] = 120,
    restart: Annotated[
        bool, typer.Option("--restart", help="Draw new questions, and discard answers from files.")
    ] = False,
    boxes: Annotated[
        bool,
        typer.Option("--boxes", help="Compute a threshold for each class from verdicts on boxes."),
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write the result into the project file.")] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the filter threshold that reaches --precision or --recall, from answers about frames near it.

    Answer the questions in `data-miner review`, under *Filter threshold*. Without --precision and --recall, the command
    writes the same questions to a CSV file. With --boxes, it computes the threshold of each class at which --precision
    (default: 0.9) of the boxes are right, and the share of missed objects, from verdicts on boxes.
    """
    from data_miner_dagster.operations.evaluation.calibration import calibrate_boxes
    from data_miner_dagster.operations.filtering.calibration import find_threshold, write_questions

    if precision is not None and recall is not None:
        raise ConfigError("--precision and --recall are alternative goals; give only one of them")
    if not boxes:
        has_goal = precision is not None or recall is not None
        _check_goal_options(has_goal, has_answers=answers is not None, write=write, restart=restart)
    platform = opened_existing(root, config, profile)
    if boxes:
        if recall is not None or answers is not None or restart:
            raise ConfigError("--boxes cannot be used with --recall, --answers or --restart; omit it or the others")
        found_boxes = calibrate_boxes(platform, project, wanted=DEFAULT_PRECISION if precision is None else precision)
        show_box_calibration(platform, found_boxes, project, is_to_be_written=write, as_json=as_json)
        return
    if precision is None and recall is None:
        sheet = write_questions(platform, project, num_questions=frames, restart=restart)
        _show_sheet(sheet, f"{project}{said_again(with_config=True)}", as_json=as_json)
        return
    found = find_threshold(
        platform,
        project,
        goal="recall" if precision is None else "precision",
        wanted=precision if precision is not None else recall or 0.0,
        answers_file=answers,
    )
    _show_threshold(platform, project, found, is_to_be_written=write, as_json=as_json)


def _check_goal_options(has_goal: bool, *, has_answers: bool, write: bool, restart: bool) -> None:
    if restart and has_goal:
        raise ConfigError(
            "--restart draws new questions, so it cannot be used with --precision or --recall; "
            "omit --restart, or use it alone"
        )
    for option, is_given in (("--answers", has_answers), ("--write", write)):
        if is_given and not has_goal:
            raise ConfigError(f"{option} needs a goal; add --precision 0.9 or --recall 0.9")


def _show_sheet(sheet: "CalibrationSheet", arguments: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "table": str(sheet.table),
                "num_frames": sheet.num_frames,
                "num_questions": sheet.num_questions,
                "num_answered": sheet.num_answered,
            }
        )
        return
    is_done = sheet.num_answered == sheet.num_questions
    echo(
        f"{sheet.num_questions} of {counted(sheet.num_frames, 'frame')} to ask about, {sheet.num_answered} "
        "answered so far:\n"
        f"  data-miner review {arguments}  asks about them, under *Filter threshold*\n"
        f"  {sheet.table}  the same questions: fill in the column `answer` with keep or drop\n"
        f"{'next' if is_done else 'then'}: run `data-miner calibrate {arguments} --precision 0.9`"
        f"{'' if is_done else ' (with --answers FILE, if you filled in the table)'}"
    )


def _show_threshold(
    platform: "Platform", project: str, found: "CalibratedThreshold", *, is_to_be_written: bool, as_json: bool
) -> None:
    result = found.result
    if as_json:
        print_json(
            {
                "encoder": found.encoder,
                "goal": result.goal,
                "wanted": result.wanted,
                "num_answers": result.num_answers,
                "num_questions": found.num_questions,
                "num_answered": found.num_answered,
                "num_not_sampled": found.num_not_sampled,
                "num_unknown": found.num_unknown,
                "threshold": found.threshold,
                "is_assured": result.is_assured,
                "remark": result.remark,
                "in_force": _quality(result.in_force, found.threshold_in_force),
                "chosen": _quality(result.chosen, found.threshold),
                **settings_json(platform, project, "filtering", found.settings, is_to_be_written=is_to_be_written),
            }
        )
        return
    rows = [
        (name, f"{threshold:.4f}", _text(quality.precision), _text(quality.recall), quality.num_kept)
        for name, threshold, quality in (
            ("in force", found.threshold_in_force, result.in_force),
            ("for the goal", found.threshold, result.chosen),
        )
        if quality is not None and threshold is not None
    ]
    if rows:
        columns = ("threshold", found.encoder, "precision (95% interval)", "recall (95% interval)", "frames kept")
        print_table(columns, rows, numbers=("frames kept",))
    echo(result.remark)
    if found.num_not_sampled:
        echo(f"left out: {counted(found.num_not_sampled, 'answer')} from other queues, which are not random samples")
    if found.num_unknown:
        about = "about frames that are unknown or do not depend on the threshold"
        echo(f"left out: {counted(found.num_unknown, 'answer')} {about}")
    if not result.is_assured and found.num_answered < found.num_questions:
        num_open = found.num_questions - found.num_answered
        review = f"data-miner review {project} --root {quote(str(platform.root))}"
        is_last_line = result.chosen is None  # otherwise the settings follow, with a next step of their own
        echo(
            f"next: run `{review}` ({counted(num_open, 'question is', 'questions are')} open)"
            if is_last_line
            else f"{counted(num_open, 'question is', 'questions are')} open; `{review}` asks them"
        )
    show_settings(platform, project, "filtering", found.settings, is_to_be_written=is_to_be_written)


def _text(estimate: "Estimate") -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _quality(quality: "ThresholdQuality | None", threshold: float | None) -> dict[str, object] | None:
    if quality is None or threshold is None:
        return None
    measures = {"precision": quality.precision, "recall": quality.recall}
    return {
        "threshold": threshold,
        "num_kept": quality.num_kept,
        **{name: {"value": e.value, "low": e.low, "high": e.high} for name, e in measures.items()},
    }
