"""Provide the review pages with the filter's calibration questions, and the threshold computed from the answers.

`data-miner calibrate` uses the same questions and calculations (operations/filtering/).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.verdicts import Verdict
from data_miner_dagster.operations.filtering.calibration import CalibratedThreshold, begin_round, threshold_for
from data_miner_dagster.operations.filtering.given_answers import answers_of_files, match_answers
from data_miner_dagster.operations.filtering.open_frames import OpenFrames, read_open_frames
from data_miner_dagster.operations.filtering.questions import Calibration, plan_calibration
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.frames import FrameCodes, rows_of_codes
from data_miner_dagster.operations.reviewing.index import mark_of
from data_miner_dagster.stages.filtering.calibration import Goal
from data_miner_dagster.stages.reviewing_queues import Int64Array, Ranking, rank_calibration


@dataclass(frozen=True, slots=True)
class CalibrationQuestions:
    """The current questions of a project's filter calibration."""

    calibration: Calibration
    of_files: Mapping[str, bool]  # imported answers (`calibrate --answers`), by frame id: True to keep the frame
    ranking: Ranking  # all questions, including answered ones
    planned: Int64Array  # rows of the planned questions, whose answers are usually enough
    answered_by_files: Int64Array  # sorted rows of the frames that imported answers are about


class CalibrationKeeper:
    """A cache of one project's calibration questions, which are recomputed if their inputs change."""

    def __init__(self, platform: Platform, project: str) -> None:
        self._platform = platform
        self._project = project
        self._frames: tuple[object, OpenFrames] | None = None
        self._questions: tuple[object, CalibrationQuestions | None] | None = None
        self.why_none = ""
        """The reason why `questions` last returned None, on one line."""

    @property
    def mark(self) -> object:
        """A value that changes whenever a file that the questions depend on is rewritten."""
        layout = self._platform.layout
        paths = (layout.similarities_table, layout.calibration_plan, layout.answers_file)
        return tuple(mark_of(path(self._project)) for path in paths)

    def questions(self, config: ProjectConfig, codes: FrameCodes) -> CalibrationQuestions | None:
        """Return the calibration questions, or None if they cannot be determined; `why_none` then states the reason."""
        key = (self.mark, config, codes)
        if self._questions is None or self._questions[0] != key:
            try:
                self._questions = key, self._read(config, codes)
            except DataMinerError as error:
                self._questions, self.why_none = (key, None), str(error)
        return self._questions[1]

    def _read(self, config: ProjectConfig, codes: FrameCodes) -> CalibrationQuestions:
        key = (mark_of(self._platform.layout.similarities_table(self._project)), config)
        if self._frames is None or self._frames[0] != key:
            self._frames = key, read_open_frames(self._platform, self._project, config.filtering)
        frames = self._frames[1]
        calibration = plan_calibration(self._platform, config, frames)
        of_files = answers_of_files(self._platform, self._project) if calibration.plan.is_stored else {}
        rows = _rows_of(frames, codes, calibration.asked)
        answered = [position for frame_id in of_files if (position := frames.position_of(frame_id)) is not None]
        known = rows >= 0
        return CalibrationQuestions(
            calibration=calibration,
            of_files=of_files,
            ranking=rank_calibration(rows[known], calibration.turns[known]),
            planned=rows[known & (calibration.turns < 1)],
            answered_by_files=np.sort(_rows_of(frames, codes, np.array(answered, np.int64))),
        )

    def begin(self, config: ProjectConfig, codes: FrameCodes) -> None:
        """Begin a round of questions, unless one has already begun or there are no questions.

        Call this before the first answer is stored. The strata are stored for all later rounds, and imported
        answers to an earlier calibration are deleted.
        """
        questions = self.questions(config, codes)
        if questions is not None:
            begin_round(self._platform, questions.calibration)

    def threshold(
        self, questions: CalibrationQuestions, verdicts: Sequence[Verdict], *, goal: Goal, wanted: float
    ) -> CalibratedThreshold:
        """Return the threshold computed from verdicts and imported answers.

        Args:
            questions: the current questions.
            verdicts: the verdicts in force on frames.
            goal: whether to reach a precision or a recall.
            wanted: the precision or recall to reach.

        Raises:
            ConfigError: `wanted` is not between 0 and 1.
        """
        given = match_answers(questions.calibration, verdicts, questions.of_files)
        return threshold_for(self._platform, questions.calibration, given, goal=goal, wanted=wanted)


def _rows_of(frames: OpenFrames, codes: FrameCodes, positions: Int64Array) -> Int64Array:
    """Return the row of the frame at each position of `frames`, or -1 if the review's tables lack the frame's video."""
    bounds = [codes.of_video(video_key) for video_key in frames.video_keys]
    firsts = np.array([first if end > first else -1 for first, end in bounds], np.int64)
    videos = np.searchsorted(frames.offsets, positions, side="right") - 1
    of_frames = firsts[videos] if len(positions) else np.zeros(0, np.int64)
    return np.where(of_frames < 0, -1, rows_of_codes(of_frames | frames.frame_indices[positions].astype(np.int64)))
