"""The questions of a calibration: which frames are asked about, in which strata, and the files that ask.

Belongs here: choosing frames, plan.json, questions.csv and questions.html. Does not belong here: what answers call for
(operations/filtering/calibration.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.export.calibration_page import Question, render_calibration_page
from data_miner_dagster.media.contact_sheets import thumbnail_uri
from data_miner_dagster.operations.filtering.drift import scale_fingerprint
from data_miner_dagster.operations.filtering.filter_project import DecisionBasis, decide_part
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.estimates import Float64Array, stratum_of
from data_miner_dagster.stages.filtering.calibration import sampling_order
from data_miner_dagster.stages.filtering.decisions import FilteringRules
from data_miner_dagster.storage.answers import answer_word, read_answers, write_csv
from data_miner_dagster.storage.atomic import atomic_path, write_json
from data_miner_dagster.storage.frames import images_of_frames
from data_miner_dagster.storage.similarities import SimilaritiesHeader, read_parts

THRESHOLD_DECIMALS: Final = 4
_LOWEST: Final = -4.0
"""A threshold below any similarity: what would be kept if the positives alone decided nothing."""


@dataclass(frozen=True, slots=True)
class OpenFrames:
    """The frames of one part whose fate depends on the positive threshold."""

    rows: pa.Table  # frame_id, video_key, pts_seconds
    headroom: Float64Array
    order: npt.NDArray[np.uint64]  # of asking
    prompts: npt.NDArray[np.int32]  # which positive prompt leads
    similarities: Float32Array


@dataclass(frozen=True, slots=True)
class AskedFrame:
    """One frame to ask about."""

    order: int
    frame_id: str
    pts_seconds: float
    headroom: float
    prompt: str
    similarity: float


def open_frames(
    platform: Platform, project: str, rules: FilteringRules, header: SimilaritiesHeader
) -> Iterator[OpenFrames]:
    """Yield, part by part, the frames that the positive threshold alone keeps or drops."""
    unthinned = replace(rules, min_gap_seconds=0.0, max_frames_per_video=None)
    lenient = replace(
        unthinned, positive=tuple(replace(rule, threshold=(rule.threshold or 0.0) + _LOWEST) for rule in rules.positive)
    )
    for part in read_parts(platform.layout.similarities_table(project), header):
        is_open = decide_part(part, DecisionBasis(header, lenient)).is_kept
        decisions = decide_part(part, DecisionBasis(header, unthinned))
        indices = part.rows.column("frame_index").to_numpy()
        offsets = part.video_offsets.tolist()
        orders = [
            sampling_order(video.video_key, indices[start:stop])
            for video, (start, stop) in zip(part.videos, pairwise(offsets), strict=True)
        ]
        yield OpenFrames(
            rows=part.rows.select(["frame_id", "video_key", "pts_seconds"]).filter(pa.array(is_open)),
            headroom=decisions.headroom[is_open],
            order=np.concatenate([np.zeros(0, np.uint64), *orders])[is_open],
            prompts=decisions.positive_prompts[is_open],
            similarities=decisions.positive_similarities[is_open],
        )


def choose_frames(
    platform: Platform,
    project: str,
    rules: FilteringRules,
    header: SimilaritiesHeader,
    edges: Float64Array,
    wanted: Sequence[int],
) -> list[AskedFrame]:
    """Return the first frames of each stratum in the order of asking, mixed, so that none looks like an answer."""
    words = platform.project_config(project).shown.text
    chosen: list[list[AskedFrame]] = [[] for _ in wanted]
    for frames in open_frames(platform, project, rules, header):
        strata = stratum_of(frames.headroom, edges)
        for stratum, num_wanted in enumerate(wanted):
            candidates = np.flatnonzero(strata == stratum)
            first = candidates[np.argsort(frames.order[candidates], kind="stable")[:num_wanted]]
            rows = frames.rows.take(pa.array(first)).to_pylist()
            asked = [
                AskedFrame(
                    order=int(frames.order[position]),
                    frame_id=row["frame_id"],
                    pts_seconds=row["pts_seconds"],
                    headroom=float(frames.headroom[position]),
                    prompt=words(rules.positive[frames.prompts[position]].text),
                    similarity=float(frames.similarities[position]),
                )
                for position, row in zip(first.tolist(), rows, strict=True)
            ]
            chosen[stratum] = sorted([*chosen[stratum], *asked], key=_by_order)[:num_wanted]
    return sorted((frame for stratum in chosen for frame in stratum), key=_by_order)


def _by_order(frame: AskedFrame) -> tuple[int, str]:
    return (frame.order, frame.frame_id)


# --- the plan ---


def write_plan(platform: Platform, project: str, rules: FilteringRules, edges: Float64Array) -> None:
    """Keep the strata of a first round for all later ones."""
    config = platform.project_config(project)
    write_json(
        platform.layout.calibration_plan(project),
        {
            "scale": scale_fingerprint(platform, config.filtering),
            "thresholds": {config.shown.text(rule.text): rule.threshold or 0.0 for rule in rules.positive},
            "inner_edges": edges[1:-1].tolist(),
        },
    )


def planned_edges(platform: Platform, project: str, rules: FilteringRules) -> Float64Array | None:
    """Return the strata of earlier rounds in terms of the thresholds in force, None where there are none to go on with.

    Raises:
        DataMinerError: single prompts got other thresholds since: old and new scores cannot be compared.
    """
    path = platform.layout.calibration_plan(project)
    if not path.is_file():
        return None
    plan = json.loads(path.read_text(encoding="utf-8"))
    config = platform.project_config(project)
    if plan["scale"] != scale_fingerprint(platform, config.filtering):
        return None
    words, asked_at = config.shown.text, plan["thresholds"]
    moves = [
        asked_at.get(words(rule.text), asked_at.get(rule.text, 0.0)) - (rule.threshold or 0.0)
        for rule in rules.positive
    ]
    if max(moves) - min(moves) > 10**-THRESHOLD_DECIMALS:
        raise DataMinerError(
            f"single prompts of {project!r} got other thresholds since its questions were asked: "
            f"`data-miner calibrate {project} --restart` asks anew"
        )
    return np.array([-np.inf, *(edge + moves[0] for edge in plan["inner_edges"]), np.inf])


# --- files for people ---


def earlier_answers(path: Path) -> dict[str, bool]:
    """Return the answers of all rounds so far: True for keep, by frame id; none where there is no such file."""
    return read_answers(path) if path.is_file() else {}


def write_questions_table(path: Path, asked: Sequence[AskedFrame], answers: Mapping[str, bool]) -> None:
    """Write the questions as CSV, answered ones filled in."""
    rows = [
        [
            frame.frame_id,
            answer_word(answers, frame.frame_id),
            f"{frame.similarity:.4f}",
            frame.prompt,
            f"{frame.pts_seconds:.3f}",
            "kept" if frame.headroom >= 0 else "dropped",
        ]
        for frame in asked
    ]
    write_csv(path, ["frame_id", "answer", "similarity", "prompt", "pts_seconds", "now"], rows)


def write_questions_page(
    platform: Platform,
    project: str,
    path: Path,
    asked: Sequence[AskedFrame],
    answers: Mapping[str, bool],
    edges: Float64Array,
) -> None:
    """Write the same questions as a page with pictures and buttons."""
    images = images_of_frames(platform.layout, [frame.frame_id for frame in asked])
    with StoredPictures(platform.config.extraction) as pictures:
        questions = [
            Question(
                frame_id=frame.frame_id,
                image_uri=thumbnail_uri(pictures, images[frame.frame_id].file),
                prompt=frame.prompt,
                pts_seconds=frame.pts_seconds,
                answer=answer_word(answers, frame.frame_id),
            )
            for frame in asked
        ]
    plan = fingerprint_of({"inner_edges": edges[1:-1].tolist()})
    page = render_calibration_page(
        project, platform.models.filter_encoder.name, questions, plan=plan, root=platform.root
    )
    with atomic_path(path) as partial:
        partial.write_text(page, encoding="utf-8")
