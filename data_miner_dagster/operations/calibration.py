"""`data-miner calibrate`: questions about frames near the threshold, answers, and the threshold they call for.

A round leaves in projects/<name>/calibration/: plan.json (the strata, kept for all later rounds, so that answers add
up), questions.csv and questions.html (the same frames), answers.csv (all answers so far), reference.json (how frames
scored at the time, for drift). Nothing here changes the project: the new threshold is the user's to put into the file.
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
import pyarrow.compute as pc

from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.export.calibration_page import Question, render_calibration_page
from data_miner_dagster.media.thumbnails import thumbnail_uri
from data_miner_dagster.operations.drift import save_reference, scale_fingerprint
from data_miner_dagster.operations.filtering import decide_part, filtered_fingerprint
from data_miner_dagster.operations.members import project_members
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.scoring import similarities_header
from data_miner_dagster.stages.calibration import (
    CalibrationResult,
    Float64Array,
    Goal,
    calibrate,
    questions_per_stratum,
    sampling_order,
    stratum_edges,
    stratum_of,
)
from data_miner_dagster.stages.filtering import FilteringRules, resolve_rules
from data_miner_dagster.storage.answers import answer_word, read_answers, write_answers, write_csv
from data_miner_dagster.storage.atomic import atomic_path, write_json
from data_miner_dagster.storage.similarities import SimilaritiesHeader, read_parts
from data_miner_dagster.storage.tables import read_fingerprint, read_table

DEFAULT_QUESTIONS: Final = 120

_LOWEST: Final = -4.0
"""A threshold below any similarity: what would be kept if the positives alone decided nothing."""
_DECIMALS: Final = 4


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


@dataclass(frozen=True, slots=True)
class _OpenFrames:
    """The frames of one part whose fate depends on the positive threshold."""

    rows: pa.Table  # frame_id, video_key, pts_seconds
    headroom: Float64Array
    order: npt.NDArray[np.uint64]  # of asking
    prompts: npt.NDArray[np.int32]  # which positive prompt leads
    similarities: Float32Array


@dataclass(frozen=True, slots=True)
class _AskedFrame:
    """One frame to ask about."""

    order: int
    frame_id: str
    pts_seconds: float
    headroom: float
    prompt: str
    similarity: float


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
        folder = platform.layout.calibration_folder(project)
        headroom = np.concatenate(
            [np.zeros(0), *(frames.headroom for frames in _open_frames(platform, project, rules, header))]
        )
        if not len(headroom):
            raise DataMinerError(f"project {project!r} has no frame whose fate depends on the positive threshold")
        edges = None if restart else _planned_edges(platform, project, rules)
        if edges is None:
            edges = stratum_edges(headroom)
            (folder / "answers.csv").unlink(missing_ok=True)
            _write_plan(platform, project, rules, edges)
        sizes = np.bincount(stratum_of(headroom, edges), minlength=len(edges) - 1).tolist()
        wanted = questions_per_stratum(edges, sizes, num_questions)
        asked = _choose(platform, project, rules, header, edges, wanted)
        answers = _earlier_answers(folder)
        _write_table(folder / "questions.csv", asked, answers)
        _write_page(platform, project, folder / "questions.html", asked, answers, edges)
        return CalibrationSheet(
            page=folder / "questions.html",
            table=folder / "questions.csv",
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
        edges = _planned_edges(platform, project, rules)
        if edges is None:
            raise DataMinerError(
                f"project {project!r} has no questions for its present prompts: "
                f"`data-miner calibrate {project}` asks them"
            )
        folder = platform.layout.calibration_folder(project)
        answers = _earlier_answers(folder)
        if answers_file is not None:
            answers |= read_answers(answers_file)
            write_answers(folder / "answers.csv", answers)
        headroom: list[Float64Array] = []
        answered_headroom: list[float] = []
        given: list[bool] = []
        answered_ids = pa.array(sorted(answers), pa.string())
        for frames in _open_frames(platform, project, rules, header):
            headroom.append(frames.headroom)
            ids = frames.rows.column("frame_id")
            is_answered = pc.is_in(ids, value_set=answered_ids)
            answered_headroom += frames.headroom[is_answered.to_numpy()].tolist()
            given += [answers[frame_id] for frame_id in ids.filter(is_answered).to_pylist()]
        result = calibrate(
            np.concatenate([np.zeros(0), *headroom]),
            edges,
            np.array(answered_headroom, np.float64),
            np.array(given, np.bool_),
            goal=goal,
            wanted=wanted,
        )
        save_reference(platform, project, config)
    encoder = platform.models.filter_encoder_name
    in_force = min(rule.threshold or 0.0 for rule in rules.positive)
    shift = result.chosen.shift if result.chosen is not None else None
    return CalibratedThreshold(
        result=result,
        encoder=encoder,
        threshold_in_force=in_force,
        threshold=_rounded(in_force + shift) if shift is not None else None,
        settings=_settings(platform, project, rules, encoder, shift) if shift is not None else {},
        num_unknown=len(answers) - len(given),
    )


def _rounded(threshold: float) -> float:
    # Down: the frame that the threshold was read off is to be kept.
    return float(np.floor(threshold * 10**_DECIMALS + 1e-6) / 10**_DECIMALS)


def _settings(
    platform: Platform, project: str, rules: FilteringRules, encoder: str, shift: float
) -> Mapping[str, object]:
    """Return the fields to set. Junk keeps its threshold, which would otherwise follow the positive one."""
    config = platform.project_config(project).filtering
    settings: dict[str, object] = {}
    own = [
        {"text": prompt.text, "threshold": {encoder: _rounded((rule.threshold or 0.0) + shift)}}
        if prompt.threshold is not None
        else {"text": prompt.text}
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


# --- which frames ---


def _current(platform: Platform, project: str) -> tuple[FilteringRules, SimilaritiesHeader]:
    config = platform.project_config(project).filtering
    rules = resolve_rules(config, platform.models.filter_encoder_name, platform.models.filter_encoder_calibration)
    header = similarities_header(platform, config, project_members(platform, project).ready)
    if read_fingerprint(platform.layout.filtered_table(project)) != filtered_fingerprint(header, rules):
        raise DataMinerError(
            f"project {project!r} has not been filtered as it stands: `data-miner run --config FILE` does that"
        )
    return rules, header


def _open_frames(
    platform: Platform, project: str, rules: FilteringRules, header: SimilaritiesHeader
) -> Iterator[_OpenFrames]:
    """Yield, part by part, the frames that the positive threshold alone keeps or drops."""
    unthinned = replace(rules, min_gap_seconds=0.0, max_frames_per_video=None)
    lenient = replace(
        unthinned, positive=tuple(replace(rule, threshold=(rule.threshold or 0.0) + _LOWEST) for rule in rules.positive)
    )
    for part in read_parts(platform.layout.similarities_table(project), header):
        is_open = decide_part(part, header, lenient).is_kept
        decisions = decide_part(part, header, unthinned)
        indices = part.rows.column("frame_index").to_numpy()
        offsets = part.video_offsets.tolist()
        orders = [
            sampling_order(video.video_key, indices[start:stop])
            for video, (start, stop) in zip(part.videos, pairwise(offsets), strict=True)
        ]
        yield _OpenFrames(
            rows=part.rows.select(["frame_id", "video_key", "pts_seconds"]).filter(pa.array(is_open)),
            headroom=decisions.headroom[is_open],
            order=np.concatenate([np.zeros(0, np.uint64), *orders])[is_open],
            prompts=decisions.positive_prompts[is_open],
            similarities=decisions.positive_similarities[is_open],
        )


def _choose(
    platform: Platform,
    project: str,
    rules: FilteringRules,
    header: SimilaritiesHeader,
    edges: Float64Array,
    wanted: Sequence[int],
) -> list[_AskedFrame]:
    """Return the first frames of each stratum in the order of asking, mixed, so that none looks like an answer."""
    chosen: list[list[_AskedFrame]] = [[] for _ in wanted]
    for frames in _open_frames(platform, project, rules, header):
        strata = stratum_of(frames.headroom, edges)
        for stratum, num_wanted in enumerate(wanted):
            candidates = np.flatnonzero(strata == stratum)
            first = candidates[np.argsort(frames.order[candidates], kind="stable")[:num_wanted]]
            rows = frames.rows.take(pa.array(first)).to_pylist()
            asked = [
                _AskedFrame(
                    order=int(frames.order[position]),
                    frame_id=row["frame_id"],
                    pts_seconds=row["pts_seconds"],
                    headroom=float(frames.headroom[position]),
                    prompt=rules.positive[frames.prompts[position]].text,
                    similarity=float(frames.similarities[position]),
                )
                for position, row in zip(first.tolist(), rows, strict=True)
            ]
            chosen[stratum] = sorted([*chosen[stratum], *asked], key=_by_order)[:num_wanted]
    return sorted((frame for stratum in chosen for frame in stratum), key=_by_order)


def _by_order(frame: _AskedFrame) -> tuple[int, str]:
    return (frame.order, frame.frame_id)


# --- the plan ---


def _write_plan(platform: Platform, project: str, rules: FilteringRules, edges: Float64Array) -> None:
    config = platform.project_config(project).filtering
    write_json(
        platform.layout.calibration_folder(project) / "plan.json",
        {
            "scale": scale_fingerprint(platform, config),
            "thresholds": {rule.text: rule.threshold or 0.0 for rule in rules.positive},
            "inner_edges": edges[1:-1].tolist(),
        },
    )


def _planned_edges(platform: Platform, project: str, rules: FilteringRules) -> Float64Array | None:
    """Return the strata of earlier rounds in terms of the thresholds in force, None where there are none to go on with.

    Raises:
        DataMinerError: single prompts got other thresholds since: old and new scores cannot be compared.
    """
    path = platform.layout.calibration_folder(project) / "plan.json"
    if not path.is_file():
        return None
    plan = json.loads(path.read_text(encoding="utf-8"))
    if plan["scale"] != scale_fingerprint(platform, platform.project_config(project).filtering):
        return None
    moves = [plan["thresholds"][rule.text] - (rule.threshold or 0.0) for rule in rules.positive]
    if max(moves) - min(moves) > 10**-_DECIMALS:
        raise DataMinerError(
            f"single prompts of {project!r} got other thresholds since its questions were asked: "
            f"`data-miner calibrate {project} --restart` asks anew"
        )
    return np.array([-np.inf, *(edge + moves[0] for edge in plan["inner_edges"]), np.inf])


# --- files for people ---


def _earlier_answers(folder: Path) -> dict[str, bool]:
    path = folder / "answers.csv"
    return read_answers(path) if path.is_file() else {}


def _write_table(path: Path, asked: Sequence[_AskedFrame], answers: Mapping[str, bool]) -> None:
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


def _write_page(
    platform: Platform,
    project: str,
    path: Path,
    asked: Sequence[_AskedFrame],
    answers: Mapping[str, bool],
    edges: Float64Array,
) -> None:
    images = _image_paths(platform, [frame.frame_id for frame in asked])
    questions = [
        Question(
            frame_id=frame.frame_id,
            image_uri=thumbnail_uri(images[frame.frame_id]),
            prompt=frame.prompt,
            pts_seconds=frame.pts_seconds,
            answer=answer_word(answers, frame.frame_id),
        )
        for frame in asked
    ]
    plan = fingerprint_of({"inner_edges": edges[1:-1].tolist()})
    page = render_calibration_page(project, platform.models.filter_encoder_name, questions, plan=plan)
    with atomic_path(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _image_paths(platform: Platform, frame_ids: Sequence[str]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for key in sorted({split_frame_id(frame_id)[0] for frame_id in frame_ids}):
        names = read_table(platform.layout.frames_table(key), ["frame_id", "file_name"]).to_pydict()
        for frame_id, name in zip(names["frame_id"], names["file_name"], strict=True):
            paths[frame_id] = platform.layout.frame_path(key, name)
    return paths
