"""Import people's verdicts on frames, and apply them to the frames that filtering decides on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts, verdicts_in_force
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.verdicts import (
    FRAME_WORDS,
    SAME_FRAME_SECONDS,
    FramePlace,
    ReviewQueue,
    Verdict,
    VerdictWord,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.operations.verdict_files import adopt_verdict_file
from data_miner_dagster.stages.filtering.decisions import DROP_BY_HAND, KEEP_BY_HAND, NO_VERDICT
from data_miner_dagster.storage.alignment import position_at
from data_miner_dagster.storage.answers import read_answers
from data_miner_dagster.storage.similarities import SimilaritiesPart
from data_miner_dagster.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """The counts of a project's verdicts on frames, and the frame ids in an imported file that match no frame."""

    num_kept: int
    num_dropped: int
    unknown: tuple[str, ...] = ()  # frame ids in the file


def frame_verdicts(platform: Platform, project: str) -> dict[tuple[str, float], bool]:
    """Return people's verdicts on frames, by video key and time in seconds: True for keep, False for drop.

    Verdicts in a file of an earlier version are first imported into the catalog.

    Raises:
        ConfigError: a verdict file of an earlier version cannot be read.
    """
    adopt_verdict_file(platform.database, platform.layout, project)
    given: dict[tuple[str, float], bool] = {}
    times: dict[tuple[str, int], float] = {}  # the last verdict's time, by video and half millisecond
    for verdict in verdicts_in_force(platform.database, project, words=FRAME_WORDS):
        key, seconds = verdict.place.video_key, verdict.place.pts_seconds
        moment = round(seconds / SAME_FRAME_SECONDS)
        for near in (moment - 1, moment, moment + 1):  # the last of several verdicts on one frame counts
            earlier = times.get((key, near))
            if earlier is not None and abs(earlier - seconds) < SAME_FRAME_SECONDS:
                del given[key, earlier], times[key, near]
        given[key, seconds], times[key, moment] = verdict.word is VerdictWord.KEEP, seconds
    return given


def count_frame_verdicts(platform: Platform, project: str) -> VerdictCounts:
    """Return the counts of a project's verdicts on frames.

    Raises:
        ConfigError: the project does not exist, or a verdict file of an earlier version cannot be read.
    """
    platform.project_config(project)
    given = frame_verdicts(platform, project)
    return VerdictCounts(sum(given.values()), len(given) - sum(given.values()))


def import_verdicts(platform: Platform, project: str, answers_file: Path, *, who: str) -> VerdictCounts:
    """Add the answers in a CSV file to a project's verdicts.

    The file has the columns `frame_id` and `answer` (keep, drop or empty). Of several answers about one frame, the last
    one counts. An answer that repeats a verdict is not stored.

    Return the counts of all the project's verdicts on frames, and the frame ids in the file that match no frame.

    Raises:
        ConfigError: the project does not exist, the file cannot be read, or a line of the file is not an answer.
        NotReadyError: the project has not been filtered.
    """
    platform.project_config(project)
    answers = read_answers(answers_file)
    require_table(platform, project, ProjectStage.FILTERING)
    frames = read_table(platform.layout.filtered_table(project), ["frame_id", "pts_seconds"])
    found = frames.filter(pc.is_in(frames["frame_id"], value_set=pa.array(sorted(answers), pa.string())))
    seconds = dict(zip(found["frame_id"].to_pylist(), found["pts_seconds"].to_pylist(), strict=True))
    known = frame_verdicts(platform, project)
    given_at = utc_now()
    fresh = []
    for frame_id, pts_seconds in seconds.items():
        place = FramePlace(split_frame_id(frame_id)[0], pts_seconds)
        is_kept = answers[frame_id]
        # A repeated verdict is not stored: the person who gave it first stays its author.
        if known.get((place.video_key, place.pts_seconds)) is not is_kept:
            word = VerdictWord.KEEP if is_kept else VerdictWord.DROP
            answer_id = fingerprint_of({"frame": frame_id, "word": word, "who": who, "at": given_at.isoformat()})
            fresh.append(Verdict(answer_id, word, place, frame_id, ReviewQueue.IMPORTED, who, given_at))
    add_verdicts(platform.database, project, fresh)
    counts = count_frame_verdicts(platform, project)
    return VerdictCounts(counts.num_kept, counts.num_dropped, tuple(sorted(answers.keys() - seconds.keys())))


def verdict_codes(part: SimilaritiesPart, said: Mapping[tuple[str, float], bool]) -> npt.NDArray[np.int8]:
    """Return an (N,) int8 array with the code of the verdict on each frame of a part, or NO_VERDICT.

    Other tools round times, so a verdict applies to the frame nearest to its time if they are less than half a
    millisecond apart.
    """
    codes = np.full(part.rows.num_rows, NO_VERDICT, np.int8)
    by_video: dict[str, list[tuple[float, bool]]] = {}
    for (video_key, seconds), is_kept in said.items():
        by_video.setdefault(video_key, []).append((seconds, is_kept))
    pts_seconds = part.rows.column("pts_seconds")
    bounds = zip(part.video_offsets[:-1].tolist(), part.video_offsets[1:].tolist(), strict=True)
    for video, (start, stop) in zip(part.videos, bounds, strict=True):
        if video.video_key in by_video:
            of_video = pts_seconds.slice(start, stop - start).to_numpy()
            for seconds, is_kept in by_video[video.video_key]:
                if (position := position_at(of_video, seconds)) is not None:
                    codes[start + position] = KEEP_BY_HAND if is_kept else DROP_BY_HAND
    return codes
