"""Match people's answers with a calibration's frames. Answers are verdicts in the catalog, or come from files.

The files were passed to `data-miner calibrate --answers`, in this or an earlier version. Unlike verdicts, answers from
files neither keep nor drop frames, but the answered questions are not asked again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.verdicts import FRAME_WORDS, ReviewQueue, Verdict, VerdictWord
from data_miner_dagster.operations.filtering.questions import Calibration
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.estimates import Float64Array, Int64Array, stratum_of
from data_miner_dagster.stages.filtering.calibration import SampledAnswers, answers_that_count
from data_miner_dagster.storage.answers import read_answers


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """People's answers about open frames, one per frame."""

    positions: Int64Array  # (A,) ascending
    is_kept: npt.NDArray[np.bool_]
    is_counted: npt.NDArray[np.bool_]  # part of the random sample of its stratum
    num_unknown: int  # answers from files about frames that are not open, or no longer open

    def counted(self, calibration: Calibration) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
        """Return two arrays for the frames whose answers count: the headroom, and whether to keep each frame."""
        return calibration.frames.headroom[self.positions[self.is_counted]], self.is_kept[self.is_counted]


def answers_of_files(platform: Platform, project: str) -> dict[str, bool]:
    """Return all answers that `calibrate --answers` has stored so far, by frame id: True for keep, False for drop.

    Raises:
        ConfigError: the file of earlier answers cannot be read.
    """
    path = platform.layout.answers_file(project)
    return read_answers(path) if path.is_file() else {}


def answers_so_far(platform: Platform, calibration: Calibration) -> GivenAnswers:
    """Return the answers about the frames of a calibration, and which of them count.

    Answers from files are included only if the plan is stored. Otherwise, they belong to an earlier plan.

    Raises:
        ConfigError: the file of earlier answers cannot be read.
    """
    project = calibration.config.name
    verdicts = verdicts_in_force(platform.database, project, words=FRAME_WORDS)
    of_files = answers_of_files(platform, project) if calibration.plan.is_stored else {}
    return match_answers(calibration, verdicts, of_files)


def match_answers(calibration: Calibration, verdicts: Iterable[Verdict], of_files: Mapping[str, bool]) -> GivenAnswers:
    """Return the answers about the frames of a calibration, from verdicts and from files.

    A verdict takes precedence over an answer from a file, and a later verdict over an earlier one. `verdicts` must be
    ordered by time. `of_files` contains True for keep and False for drop, by frame id.
    """
    frames = calibration.frames
    known = [(frames.position_of(frame_id), kept) for frame_id, kept in of_files.items()]
    is_kept = {position: kept for position, kept in known if position is not None}
    num_unknown = len(known) - len(is_kept)
    asked = set(is_kept)
    for verdict in verdicts:
        if verdict.word not in FRAME_WORDS or (position := frames.position_at(verdict.place)) is None:
            continue
        is_kept[position] = verdict.word is VerdictWord.KEEP
        if verdict.queue is ReviewQueue.CALIBRATION and verdict.given_at >= calibration.plan.made_at:
            asked.add(position)
    positions = np.array(sorted(is_kept), np.int64)
    edges, planned = calibration.plan.edges, calibration.planned
    sampled = SampledAnswers(
        stratum_of(frames.headroom[positions], edges), frames.numbers[positions], np.isin(positions, sorted(asked))
    )
    return GivenAnswers(
        positions=positions,
        is_kept=np.array([is_kept[position] for position in positions.tolist()], np.bool_),
        is_counted=answers_that_count(sampled, stratum_of(frames.headroom[planned], edges), frames.numbers[planned]),
        num_unknown=num_unknown,
    )
