"""Verdicts of people on frames: how they come in, and how they meet the frames that filtering decides on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.stages.filtering.decisions import DROP_BY_HAND, KEEP_BY_HAND, NO_VERDICT
from data_miner_dagster.storage.answers import read_answers
from data_miner_dagster.storage.similarities import SimilaritiesPart
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.verdicts import FrameVerdict, read_verdicts, write_verdicts


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """The verdicts of a project, and the lines of a file that met no frame of it."""

    num_kept: int
    num_dropped: int
    unknown: tuple[str, ...] = ()  # frame ids


def count_verdicts(platform: Platform, project: str) -> VerdictCounts:
    """Return how many verdicts a project has.

    Raises:
        ConfigError: there is no such project, or the file of verdicts is damaged.
    """
    platform.project_config(project)
    verdicts = read_verdicts(platform.layout.frame_verdicts(project)).values()
    num_kept = sum(verdict.is_kept for verdict in verdicts)
    return VerdictCounts(num_kept, len(verdicts) - num_kept)


def import_verdicts(platform: Platform, project: str, answers_file: Path, *, who: str) -> VerdictCounts:
    """Add the answers of a file (`frame_id`, and `answer`: keep or drop) to the project's verdicts; the last counts.

    Raises:
        ConfigError: there is no such project, or a line of the file is no answer.
        NotReadyError: the project has not been filtered.
        ClaimHeldError: another worker is at this project for longer than one waits.
    """
    platform.project_config(project)
    answers = read_answers(answers_file)
    with platform.hold_project(project):
        require_table(platform, project, ProjectStage.FILTERING)
        frames = read_table(platform.layout.filtered_table(project), ["frame_id", "pts_seconds"])
        found = frames.filter(pc.is_in(frames["frame_id"], value_set=pa.array(sorted(answers), pa.string())))
        seconds = dict(zip(found["frame_id"].to_pylist(), found["pts_seconds"].to_pylist(), strict=True))
        path = platform.layout.frame_verdicts(project)
        verdicts = read_verdicts(path)
        given_at = f"{utc_now():%Y-%m-%dT%H:%M:%SZ}"
        for frame_id, pts_seconds in seconds.items():
            known = verdicts.get((split_frame_id(frame_id)[0], pts_seconds))
            if known is None or known.is_kept != answers[frame_id]:  # the same again leaves who said it first
                verdict = FrameVerdict(frame_id, pts_seconds, answers[frame_id], who, given_at)
                verdicts[verdict.video_key, pts_seconds] = verdict
        write_verdicts(path, verdicts)
    counts = count_verdicts(platform, project)
    return VerdictCounts(counts.num_kept, counts.num_dropped, tuple(sorted(answers.keys() - seconds.keys())))


def verdict_codes(part: SimilaritiesPart, said: Mapping[tuple[str, float], bool]) -> npt.NDArray[np.int8]:
    """Return (N,) what was said of each frame of a part, NO_VERDICT where nothing was."""
    codes = np.full(part.rows.num_rows, NO_VERDICT, np.int8)
    judged = {video_key for video_key, _ in said}
    pts_seconds = part.rows.column("pts_seconds")
    bounds = zip(part.video_offsets[:-1].tolist(), part.video_offsets[1:].tolist(), strict=True)
    for video, (start, stop) in zip(part.videos, bounds, strict=True):
        if video.video_key in judged:
            for position, seconds in enumerate(pts_seconds.slice(start, stop - start).to_pylist(), start):
                if (is_kept := said.get((video.video_key, seconds))) is not None:
                    codes[position] = KEEP_BY_HAND if is_kept else DROP_BY_HAND
    return codes
