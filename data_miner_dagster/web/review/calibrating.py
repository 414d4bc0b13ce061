"""The page for calibrating the filter's threshold: the question to ask, and the threshold that follows from answers."""

import shlex
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data_miner_dagster.config.editing import one_line_yaml
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.quality import Estimate
from data_miner_dagster.operations.filtering.calibration import CalibratedThreshold
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_file_settings import project_file_of
from data_miner_dagster.stages.estimates import FEWEST_ANSWERS
from data_miner_dagster.stages.filtering.calibration import Goal, ThresholdQuality
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.requests import project_of

DEFAULT_WANTED: Final = 0.9


def question_of(config: ProjectConfig) -> dict[str, list[str]]:
    """Return the words of a project's prompts for frames to keep and to drop, under the keys `keep` and `drop`.

    Values from the environment are replaced by references.
    """
    filtering, words = config.filtering, config.shown.text
    return {
        "keep": [printable(words(prompt.text)) for prompt in filtering.positive],
        "drop": [printable(words(prompt.text)) for prompt in (*filtering.negative, *filtering.junk)],
    }


class CalibrationEndpoint:
    """The route for the progress of a calibration."""

    def __init__(self, platform: Platform, open_desk: OpenDesk) -> None:
        self._platform = platform
        self._open_desk = open_desk

    def state(self, request: Request) -> Response:
        """Return the progress of the calibration, or the reason why there are no questions.

        The progress includes the threshold that reaches the goal in the query string, if the answers so far suffice.

        Raises:
            ConfigError: the project does not exist, or `wanted` is not a number between 0 and 1.
        """
        project = project_of(request)
        query = request.query_params
        goal: Goal = "recall" if query.get("goal") == "recall" else "precision"
        wanted = _number(query.get("wanted", ""))
        state = self._open_desk(project).calibration(goal=goal, wanted=wanted)
        if state.found is None:
            return JSONResponse({"why_none": printable(state.why_none)})
        return JSONResponse(_content(state.found) | self._next_steps(project, state.found))

    def _next_steps(self, project: str, found: CalibratedThreshold) -> dict[str, object]:
        """Return the settings to change, the project file, and the commands that write the settings and apply them."""
        file, root = project_file_of(self._platform, project), str(self._platform.root)
        goal = [f"--{found.result.goal}", f"{found.result.wanted:g}"]
        return {
            "settings": [f"{name}: {one_line_yaml(value)}" for name, value in found.settings.items()],
            "file": None if file is None else printable(str(file)),
            "write": shlex.join(["data-miner", "calibrate", project, *goal, "--write", "--root", root]),
            "run": shlex.join(["data-miner", "run", "--config", str(file or Path("FILE")), "--root", root]),
        }


def _number(text: str) -> float:
    try:
        return float(text) if text else DEFAULT_WANTED
    except ValueError:
        raise ConfigError(f"{text!r} is not a number; give one between 0 and 1, such as {DEFAULT_WANTED}") from None


def _content(found: CalibratedThreshold) -> dict[str, object]:
    result = found.result
    return {
        "goal": result.goal,
        "wanted": result.wanted,
        "encoder": found.encoder,
        "num_answers": result.num_answers,
        "num_answered": found.num_answered,
        "num_questions": found.num_questions,
        "num_needed": FEWEST_ANSWERS,
        "num_not_sampled": found.num_not_sampled,
        "remark": result.remark,
        "is_assured": result.is_assured,
        "in_force": _quality(result.in_force, found.threshold_in_force),
        "chosen": _quality(result.chosen, found.threshold),
    }


def _quality(quality: ThresholdQuality | None, threshold: float | None) -> dict[str, object] | None:
    if quality is None or threshold is None:
        return None
    return {
        "threshold": threshold,
        "num_kept": quality.num_kept,
        "precision": _estimate(quality.precision),
        "recall": _estimate(quality.recall),
    }


def _estimate(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]
