"""Choose the questions of a calibration, and write plan.json and questions.csv.

Belongs here: computing the strata, and choosing the frames to ask about. Does not belong here: matching answers with
frames (given_answers.py), or computing the threshold from answers (calibration.py).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.operations.filtering.drift import scale_fingerprint
from data_miner_dagster.operations.filtering.open_frames import OpenFrames, read_open_frames, rules_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.estimates import Float64Array, Int64Array
from data_miner_dagster.stages.filtering.calibration import draw_in_strata, stratum_edges
from data_miner_dagster.stages.filtering.decisions import FilteringRules
from data_miner_dagster.storage.answers import answer_word, write_csv
from data_miner_dagster.storage.atomic import write_json

DEFAULT_QUESTIONS: Final = 120
"""The default number of questions. This many answers are usually enough."""
THRESHOLD_DECIMALS: Final = 4
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """The strata that all rounds of a calibration share, expressed relative to the current thresholds."""

    edges: Float64Array  # ascending headroom at the borders of the strata, from -inf to inf
    made_at: datetime  # earlier answers belong to an earlier plan
    is_stored: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """The questions of one project's calibration: P frames, in the order in which people are asked about them."""

    config: ProjectConfig
    rules: FilteringRules
    frames: OpenFrames
    plan: Plan
    asked: Int64Array  # (P,) positions among the frames
    turns: Float64Array  # (P,) the turn of each question, ascending: planned below 1, optional from 1

    @property
    def planned(self) -> Int64Array:
        """The positions of the planned questions, whose answers are usually enough."""
        return self.asked[self.turns < 1]


def plan_calibration(
    platform: Platform,
    config: ProjectConfig,
    frames: OpenFrames,
    *,
    num_questions: int = DEFAULT_QUESTIONS,
    restart: bool = False,
) -> Calibration:
    """Return a project's calibration questions, drawn from the strata of earlier rounds if these are still valid.

    With `restart`, the strata are computed again. Nothing is stored.

    Raises:
        ConfigError: a threshold is given per encoder, but not for the current one, or an exemplar cannot be read.
        DataMinerError: no frame's decision depends on the threshold, or, without `restart`, the plan of the earlier
            rounds is damaged or the prompts' thresholds have changed by different amounts since those rounds.
    """
    if not len(frames.headroom):
        raise DataMinerError(
            f"project {config.name!r} has no frame whose decision depends on the positive threshold; see the funnel in "
            "`data-miner status`, and add videos or change the prompts"
        )
    rules = rules_of(platform, config.filtering)
    plan = None if restart else stored_plan(platform, config, rules)
    if plan is None:
        plan = Plan(stratum_edges(frames.headroom), utc_now(), is_stored=False)
    asked, turns = draw_in_strata(frames.headroom, plan.edges, frames.numbers, num_questions)
    order = np.lexsort((asked, turns))
    return Calibration(config, rules, frames, plan, asked[order], turns[order])


def open_calibration(
    platform: Platform, project: str, *, num_questions: int = DEFAULT_QUESTIONS, restart: bool = False
) -> Calibration:
    """Return the calibration questions of a project that was filtered with its current prompts. Nothing is stored.

    Raises:
        ConfigError: the project does not exist, a threshold is given per encoder but not for the current one, or an
            exemplar cannot be read.
        DataMinerError: the project has not been filtered with its current prompts; no frame's decision depends on the
            threshold; or, without `restart`, the plan of the earlier rounds is damaged or the prompts' thresholds have
            changed by different amounts since those rounds.
    """
    config = platform.project_config(project)
    frames = read_open_frames(platform, project, config.filtering)
    return plan_calibration(platform, config, frames, num_questions=num_questions, restart=restart)


# --- the plan ---


def store_plan(platform: Platform, calibration: Calibration) -> None:
    """Store the strata of a first round for all later rounds."""
    config = calibration.config
    write_json(
        platform.layout.calibration_plan(config.name),
        {
            "scale": scale_fingerprint(platform, config.name, config.filtering),
            "thresholds": {config.shown.text(rule.text): rule.threshold or 0.0 for rule in calibration.rules.positive},
            "inner_edges": calibration.plan.edges[1:-1].tolist(),
            "made_at": calibration.plan.made_at.isoformat(),
        },
    )


def stored_plan(platform: Platform, config: ProjectConfig, rules: FilteringRules) -> Plan | None:
    """Return the strata of earlier rounds relative to the current thresholds.

    Return None if there were no earlier rounds, or if their encoder, prompts or exemplars differ from the current ones.

    Raises:
        DataMinerError: the plan's file is damaged, or the prompts' thresholds have changed by different amounts, so no
            single shift can adapt the strata.
    """
    path = platform.layout.calibration_plan(config.name)
    if not path.is_file():
        return None
    again = f"run `data-miner calibrate {config.name} --restart` to start over"
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        scale, asked_at, inner_edges = plan["scale"], plan["thresholds"], plan["inner_edges"]
    except (LookupError, TypeError, ValueError) as error:
        raise DataMinerError(f"{path} is damaged; {again}") from error
    if scale != scale_fingerprint(platform, config.name, config.filtering):
        return None
    words = config.shown.text
    moves = [
        asked_at.get(words(rule.text), asked_at.get(rule.text, 0.0)) - (rule.threshold or 0.0)
        for rule in rules.positive
    ]
    if max(moves) - min(moves) > 10**-THRESHOLD_DECIMALS:
        raise DataMinerError(
            f"the prompt thresholds of project {config.name!r} have changed by different amounts since calibration "
            f"began; {again}"
        )
    edges = np.array([-np.inf, *(edge + moves[0] for edge in inner_edges), np.inf])
    made_at = datetime.fromisoformat(plan["made_at"]) if "made_at" in plan else _LONG_AGO
    return Plan(edges, made_at, is_stored=True)


# --- the file for people without a browser ---


def write_questions_table(path: Path, calibration: Calibration, answers: Mapping[str, bool]) -> None:
    """Write the planned questions as CSV, with the known answers filled in."""
    frames = calibration.frames
    words = calibration.config.shown.text
    texts = [words(rule.text) for rule in calibration.rules.positive]
    rows: list[Sequence[object]] = []
    for position in calibration.planned.tolist():
        frame_id = frames.frame_id(position)
        rows.append(
            [
                frame_id,
                answer_word(answers, frame_id),
                f"{frames.similarities[position]:.4f}",
                texts[int(frames.prompts[position])],
                f"{frames.pts_seconds[position]:.3f}",
                "kept" if frames.headroom[position] >= 0 else "dropped",
            ]
        )
    write_csv(path, ["frame_id", "answer", "similarity", "prompt", "pts_seconds", "now"], rows)
