"""`data-miner calibrate`: questions about frames near the threshold, answers, and the threshold they call for.

A round leaves in projects/<name>/calibration/: plan.json (the strata, kept for all later rounds, so that answers add
up), questions.csv and questions.html (the same frames), answers.csv (all answers so far), reference.json (how frames
scored at the time, for drift). Nothing here changes the project: the new threshold is the user's to put into the file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.operations.filtering.drift import save_reference
from data_miner_dagster.operations.filtering.filter_project import DecisionBasis
from data_miner_dagster.operations.filtering.questions import (
    THRESHOLD_DECIMALS,
    OpenFrames,
    choose_frames,
    earlier_answers,
    open_frames,
    planned_edges,
    write_plan,
    write_questions_page,
    write_questions_table,
)
from data_miner_dagster.operations.filtering.scoring import similarities_header
from data_miner_dagster.operations.filtering.verdicts import frame_verdicts
from data_miner_dagster.operations.members import project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.estimates import Float64Array, stratum_of
from data_miner_dagster.stages.filtering.calibration import (
    CalibrationResult,
    Goal,
    calibrate,
    questions_per_stratum,
    stratum_edges,
)
from data_miner_dagster.stages.filtering.decisions import FilteringRules, resolve_rules
from data_miner_dagster.storage.answers import read_answers, write_answers
from data_miner_dagster.storage.similarities import SimilaritiesHeader
from data_miner_dagster.storage.tables import read_fingerprint
from data_miner_dagster.storage.verdicts import verdicts_on

DEFAULT_QUESTIONS: Final = 120


@dataclass(frozen=True, slots=True)
class CalibrationSheet:
    """Where the questions of a round are."""

    page: Path
    table: Path
    num_frames: int  # whose fate depends on the positive threshold
    num_questions: int
    num_answered: int


@dataclass(frozen=True, slots=True)
class CalibratedThreshold:
    """What the answers call for. `settings` are the lines to put under `filtering:` in the project file."""

    result: CalibrationResult
    encoder: str
    threshold_in_force: float
    threshold: float | None
    settings: Mapping[str, object]
    num_unknown: int  # answers about frames that are not, or no longer, open to question


def write_questions(
    platform: Platform, project: str, *, num_questions: int = DEFAULT_QUESTIONS, restart: bool = False
) -> CalibrationSheet:
    """Choose frames to ask about and write them as CSV and as a page. A larger number extends the same choice.

    Args:
        platform: the platform of one root.
        project: its name. It must have been filtered as its configuration stands.
        num_questions: how many frames to ask about, half on each side of the threshold.
        restart: forget earlier rounds and their answers.

    Raises:
        ConfigError: no such project.
        DataMinerError: it has not been filtered as it stands, or no frame's fate depends on the threshold.
    """
    with platform.hold_project(project):
        rules, header = _current(platform, project)
        layout = platform.layout
        headroom = np.concatenate(
            [np.zeros(0), *(frames.headroom for frames in open_frames(platform, project, rules, header))]
        )
        if not len(headroom):
            raise DataMinerError(f"project {project!r} has no frame whose fate depends on the positive threshold")
        edges = None if restart else planned_edges(platform, project, rules)
        if edges is None:
            edges = stratum_edges(headroom)
            layout.answers_file(project).unlink(missing_ok=True)
            write_plan(platform, project, rules, edges)
        sizes = np.bincount(stratum_of(headroom, edges), minlength=len(edges) - 1).tolist()
        wanted = questions_per_stratum(edges, sizes, num_questions)
        asked = choose_frames(platform, project, rules, header, edges, wanted)
        answers = earlier_answers(layout.answers_file(project))
        page, table = layout.questions_page(project), layout.questions_table(project)
        write_questions_table(table, asked, answers)
        write_questions_page(platform, project, page, asked, answers, edges)
        return CalibrationSheet(
            page=page,
            table=table,
            num_frames=len(headroom),
            num_questions=len(asked),
            num_answered=sum(frame.frame_id in answers for frame in asked),
        )


def find_threshold(
    platform: Platform, project: str, *, goal: Goal, wanted: float, answers_file: Path | None = None
) -> CalibratedThreshold:
    """Return the threshold for a wanted precision or recall, from all answers so far.

    Args:
        platform: the platform of one root.
        project: its name.
        goal: "precision" or "recall".
        wanted: its value.
        answers_file: a CSV with columns `frame_id` and `answer` (keep, drop or empty), added to earlier answers.

    Raises:
        ConfigError: no such project, or a line of the file that is no answer.
        DataMinerError: there are no questions yet, or the project has not been filtered as it stands.
    """
    if not 0 < wanted < 1:
        raise ConfigError(f"a {goal} of {wanted:g} cannot be aimed at: give a number between 0 and 1, such as 0.9")
    with platform.hold_project(project):
        config = platform.project_config(project).filtering
        rules, header = _current(platform, project)
        edges = planned_edges(platform, project, rules)
        if edges is None:
            raise DataMinerError(
                f"project {project!r} has no questions for its present prompts: "
                f"`data-miner calibrate {project}` asks them"
            )
        answers = _all_answers(platform.layout.answers_file(project), answers_file)
        open_to_question = _open_to_question(open_frames(platform, project, rules, header), answers)
        result = calibrate(
            open_to_question.headroom,
            edges,
            open_to_question.answered_headroom,
            open_to_question.given,
            goal=goal,
            wanted=wanted,
        )
        save_reference(platform, project, config)
    encoder = platform.models.filter_encoder.name
    in_force = min(rule.threshold or 0.0 for rule in rules.positive)
    shift = result.chosen.shift if result.chosen is not None else None
    return CalibratedThreshold(
        result=result,
        encoder=encoder,
        threshold_in_force=in_force,
        threshold=_rounded(in_force + shift) if shift is not None else None,
        settings=_settings(platform, project, rules, encoder, shift) if shift is not None else {},
        num_unknown=len(answers) - len(open_to_question.given),
    )


def _all_answers(path: Path, new_answers: Path | None) -> dict[str, bool]:
    """Return all answers so far, by frame, after those of a new file were added to what is kept of them at `path`."""
    answers = earlier_answers(path)
    if new_answers is not None:
        answers |= read_answers(new_answers)
        write_answers(path, answers)
    return answers


@dataclass(frozen=True, slots=True)
class _OpenToQuestion:
    """The frames whose fate depends on the threshold, and what was answered about some of them."""

    headroom: Float64Array  # of all
    answered_headroom: Float64Array
    given: npt.NDArray[np.bool_]  # True: to be kept


def _open_to_question(videos: Iterable[OpenFrames], answers: Mapping[str, bool]) -> _OpenToQuestion:
    headroom: list[Float64Array] = []
    answered_headroom: list[float] = []
    given: list[bool] = []
    answered_ids = pa.array(sorted(answers), pa.string())
    for frames in videos:
        headroom.append(frames.headroom)
        ids = frames.rows.column("frame_id")
        is_answered = pc.is_in(ids, value_set=answered_ids)
        answered_headroom += frames.headroom[is_answered.to_numpy()].tolist()
        given += [answers[frame_id] for frame_id in ids.filter(is_answered).to_pylist()]
    return _OpenToQuestion(
        np.concatenate([np.zeros(0), *headroom]), np.array(answered_headroom, np.float64), np.array(given, np.bool_)
    )


def _rounded(threshold: float) -> float:
    # Down: the frame that the threshold was read off is to be kept.
    return float(np.floor(threshold * 10**THRESHOLD_DECIMALS + 1e-6) / 10**THRESHOLD_DECIMALS)


def _settings(
    platform: Platform, project: str, rules: FilteringRules, encoder: str, shift: float
) -> Mapping[str, object]:
    """Return the fields to set. Junk keeps its threshold, which would otherwise follow the positive one."""
    project_config = platform.project_config(project)
    config, words = project_config.filtering, project_config.shown.text
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


def _current(platform: Platform, project: str) -> tuple[FilteringRules, SimilaritiesHeader]:
    config = platform.project_config(project).filtering
    rules = resolve_rules(config, platform.models.filter_encoder.name, platform.models.filter_encoder.calibration)
    header = similarities_header(platform, config, project_members(platform, project).ready)
    given = frame_verdicts(platform, project)
    basis = DecisionBasis(header, rules, verdicts_on(given, [video.video_key for video in header.videos]))
    if read_fingerprint(platform.layout.filtered_table(project)) != basis.fingerprint:
        raise DataMinerError(
            f"project {project!r} has not been filtered as it stands: `data-miner run --config FILE` does that"
        )
    return rules, header
