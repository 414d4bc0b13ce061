"""Compute a positive threshold from people's answers, for `data-miner calibrate` and its review page.

Calibrating writes up to four files to projects/<name>/calibration/:

- plan.json: the strata, which all later rounds share, so that answers accumulate.
- questions.csv: the questions, for people without a browser.
- answers.csv: all answers from files so far.
- reference.json: the distribution of the positive similarities at the time of the calibration, to detect drift.

Answers given on the review pages are verdicts in the catalog. Nothing here changes the project file: a user adds the
new threshold to it, or the command does with `--write`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.filtering.drift import save_reference
from data_miner_dagster.operations.filtering.given_answers import (
    GivenAnswers,
    answers_of_files,
    answers_so_far,
)
from data_miner_dagster.operations.filtering.questions import (
    DEFAULT_QUESTIONS,
    THRESHOLD_DECIMALS,
    Calibration,
    open_calibration,
    store_plan,
    write_questions_table,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.filtering.calibration import CalibrationResult, Goal, calibrate
from data_miner_dagster.storage.answers import read_answers, write_answers


@dataclass(frozen=True, slots=True)
class CalibrationSheet:
    """The path of a round's file of questions, and the counts of its questions and answers."""

    table: Path
    num_frames: int  # frames whose decision depends on the positive threshold
    num_questions: int
    num_answered: int


@dataclass(frozen=True, slots=True)
class CalibratedThreshold:
    """The result of computing a threshold from people's answers.

    `settings` has the values to set under `filtering:` in the project file. If no threshold reaches the goal,
    `threshold` is None and `settings` is empty.
    """

    result: CalibrationResult
    encoder: str
    threshold_in_force: float  # the lowest of the positive thresholds
    threshold: float | None  # the new value of that threshold
    settings: Mapping[str, object]
    num_unknown: int  # answers from files about frames that are not open, or no longer open
    num_not_sampled: int  # answers from other queues, which are not a random sample
    num_questions: int  # planned questions, whose answers are usually enough
    num_answered: int  # planned questions that have an answer


def write_questions(
    platform: Platform, project: str, *, num_questions: int = DEFAULT_QUESTIONS, restart: bool = False
) -> CalibrationSheet:
    """Choose frames to ask about, and write the questions as CSV. A larger `num_questions` extends the same choice.

    Args:
        platform: the platform of one root.
        project: the name of a project that has been filtered with its current prompts.
        num_questions: the number of frames to ask about, half of them on each side of the threshold.
        restart: discard the strata of earlier rounds and the answers from files. Verdicts are kept.

    Raises:
        ConfigError: the project does not exist, a threshold is given per encoder but not for the current one, or an
            exemplar or the file of earlier answers cannot be read.
        DataMinerError: the project has not been filtered with its current prompts; no frame's decision depends on the
            threshold; or, without `restart`, the plan of the earlier rounds is damaged or the prompts' thresholds have
            changed by different amounts since those rounds.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    with platform.hold_project(project):
        calibration = begin_round(
            platform, open_calibration(platform, project, num_questions=num_questions, restart=restart)
        )
        given = answers_so_far(platform, calibration)
        frames, table = calibration.frames, platform.layout.questions_table(project)
        words = {
            frames.frame_id(position): kept
            for position, kept in zip(given.positions.tolist(), given.is_kept.tolist(), strict=True)
        }
        write_questions_table(table, calibration, words)
        return CalibrationSheet(
            table=table,
            num_frames=len(frames.headroom),
            num_questions=len(calibration.planned),
            num_answered=num_answered(calibration, given),
        )


def begin_round(platform: Platform, calibration: Calibration) -> Calibration:
    """Store the plan of a first round. Return the calibration with its plan marked as stored.

    The file of imported answers is deleted, because it belongs to an earlier plan. If the plan is already stored,
    nothing changes.
    """
    if calibration.plan.is_stored:
        return calibration
    platform.layout.answers_file(calibration.config.name).unlink(missing_ok=True)
    store_plan(platform, calibration)
    return replace(calibration, plan=replace(calibration.plan, is_stored=True))


def num_answered(calibration: Calibration, given: GivenAnswers) -> int:
    """Return the number of planned questions that have an answer."""
    return int(np.isin(calibration.planned, given.positions).sum())


def find_threshold(
    platform: Platform, project: str, *, goal: Goal, wanted: float, answers_file: Path | None = None
) -> CalibratedThreshold:
    """Return the threshold for a wanted precision or recall, computed from all answers so far.

    The answers in `answers_file` are stored first, and the current similarities become the reference for drift.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        goal: "precision" or "recall".
        wanted: the precision or recall to reach.
        answers_file: a CSV with columns `frame_id` and `answer` (keep, drop or empty), or None to use only the answers
            that are already stored.

    Raises:
        ConfigError: the project does not exist, `wanted` is not between 0 and 1 (both exclusive), a file of answers is
            missing or contains an invalid answer, a threshold is given per encoder but not for the current one, or an
            exemplar cannot be read.
        DataMinerError: the project has not been filtered with its current prompts, no frame's decision depends on the
            threshold, the plan of the earlier rounds is damaged, or the prompts' thresholds have changed by different
            amounts since those rounds.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    _check_goal(goal, wanted)
    with platform.hold_project(project):
        calibration = open_calibration(platform, project)
        new_answers = read_answers(answers_file) if answers_file is not None else {}
        calibration = begin_round(platform, calibration)
        if new_answers:
            write_answers(platform.layout.answers_file(project), answers_of_files(platform, project) | new_answers)
        found = threshold_for(platform, calibration, answers_so_far(platform, calibration), goal=goal, wanted=wanted)
        save_reference(platform, project, calibration.config.filtering)
    return found


def _check_goal(goal: Goal, wanted: float) -> None:
    if not 0 < wanted < 1:
        raise ConfigError(f"a {goal} of {wanted:g} is not possible; give a number between 0 and 1, such as 0.9")


def threshold_for(
    platform: Platform, calibration: Calibration, given: GivenAnswers, *, goal: Goal, wanted: float
) -> CalibratedThreshold:
    """Return the threshold computed from the given answers. Nothing is stored.

    Raises:
        ConfigError: `wanted` is not between 0 and 1, both exclusive.
    """
    _check_goal(goal, wanted)
    rules = calibration.rules
    answered_headroom, is_kept = given.counted(calibration)
    result = calibrate(
        calibration.frames.headroom, calibration.plan.edges, answered_headroom, is_kept, goal=goal, wanted=wanted
    )
    in_force = min(rule.threshold or 0.0 for rule in rules.positive)
    shift = result.chosen.shift if result.chosen is not None else None
    encoder = platform.models.filter_encoder.name
    return CalibratedThreshold(
        result=result,
        encoder=encoder,
        threshold_in_force=in_force,
        threshold=_rounded(in_force + shift) if shift is not None else None,
        settings=_settings(calibration, encoder, shift) if shift is not None else {},
        num_unknown=given.num_unknown,
        num_not_sampled=int((~given.is_counted).sum()),
        num_questions=len(calibration.planned),
        num_answered=num_answered(calibration, given),
    )


def _rounded(threshold: float) -> float:
    # Rounded down, since the frame that the threshold was taken from must be kept.
    return float(np.floor(threshold * 10**THRESHOLD_DECIMALS + 1e-6) / 10**THRESHOLD_DECIMALS)


def _settings(calibration: Calibration, encoder: str, shift: float) -> Mapping[str, object]:
    """Return the values to set under `filtering:` so that every positive threshold moves by `shift`.

    The values include the junk threshold if it would otherwise follow the positive one.
    """
    config, words, rules = calibration.config.filtering, calibration.config.shown.text, calibration.rules
    settings: dict[str, object] = {}
    own = [
        {"text": words(prompt.text), "threshold": {encoder: _rounded((rule.threshold or 0.0) + shift)}}
        if prompt.threshold is not None
        else {"text": words(prompt.text)}
        for prompt, rule in zip(config.positive, rules.positive, strict=True)
    ]
    if any("threshold" in prompt for prompt in own):
        settings["positive"] = own
    shared = next(
        (
            rule.threshold
            for prompt, rule in zip(config.positive, rules.positive, strict=True)
            if prompt.threshold is None
        ),
        None,
    )
    if shared is not None:
        settings["positive_threshold"] = {encoder: _rounded(shared + shift)}
        if config.junk and config.junk_threshold is None:
            settings["junk_threshold"] = {encoder: shared}
    return settings
