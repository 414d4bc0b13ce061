"""Build the index of a project: the possible questions about its frames and boxes, read from its tables.

Belongs here: questions regardless of people's verdicts. Does not belong here: applying verdicts (standing.py), or
deciding when to read the tables again (review.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.reviewing.frames import (
    ExaminedFrames,
    FrameCodes,
    read_examined_frames,
    rows_of_codes,
    unique_codes,
)
from data_miner_dagster.stages.filtering.decisions import resolve_rules
from data_miner_dagster.stages.reviewing.states import FrameClasses
from data_miner_dagster.stages.reviewing_queues import (
    NO_OBJECT,
    OBJECT,
    BoxArrays,
    BoxRules,
    Float64Array,
    FrameFacts,
    Int64Array,
    NearestToZero,
    Ranking,
    UInt64Array,
    box_states,
    draw_near_threshold,
    rank_duplicates,
)
from data_miner_dagster.stages.sampling import mixed_numbers, sampling_numbers
from data_miner_dagster.storage.tables import read_batches

MOST_OF_A_KIND: Final = 5000
"""The largest number of frames on each side of the filter's threshold, and of pairs of duplicates, held in memory."""
_BOXES_AT_A_TIME: Final = 200_000
_NUM_PARTS: Final = 7
"""The number of steps in the progress report. With millions of boxes, building an index takes minutes."""


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """A duplicate, and the representative that is released in its place. `tier` is the kind of duplicate."""

    frame_id: str
    representative_frame_id: str
    similarity: float
    tier: str


@dataclass(frozen=True, slots=True)
class ReviewIndex:
    """The possible questions about a project, except those of the filter's calibration.

    Each row identifies a frame or box (`rows_of_codes` in frames.py). `filter` and `pairs` hold a limited number of
    questions (see MOST_OF_A_KIND). `num_filter` and `num_duplicates` count all of them. Before detection, `examined` is
    None, and the fields computed from it are empty.
    """

    config: ProjectConfig
    classes: FrameClasses
    codes: FrameCodes
    rules: BoxRules
    examined: ExaminedFrames | None
    rows: Int64Array  # rows of the examined frames
    numbers: UInt64Array  # sampling numbers of the examined frames
    facts: FrameFacts  # the sort keys of the queues UNSURE and DISAGREEMENT
    num_objects: Int64Array  # number of objects by class
    student: Ranking  # examined frames on which a student and the labels disagree
    why_student: Mapping[int, str]  # the kind of disagreement, by row
    near_threshold: Ranking  # boxes near the threshold of their class
    filter: Ranking  # frames near the filter's threshold
    duplicates: Ranking  # the duplicates in `pairs`
    pairs: Mapping[int, DuplicatePair]  # by the row of the duplicate
    num_filter: int  # number of frames whose decision depends on the filter's threshold
    num_duplicates: int  # number of pairs that people can judge

    def headroom_of(self, code: int) -> float | None:
        """Return a frame's headroom, or None if the index does not rank the frame for the filter's threshold."""
        where = np.flatnonzero(self.filter.rows == rows_of_codes(np.array(code)))
        return float(self.filter.keys[1][where[0]]) if len(where) else None


def table_marks(platform: Platform, project: str) -> tuple[object, ...]:
    """Return a value that changes whenever a table that the index is built from is rewritten, added or removed."""
    return tuple(mark_of(path) for path in (*_tables(platform, project), _student_table(platform, project)))


def _tables(platform: Platform, project: str) -> tuple[Path, ...]:
    layout = platform.layout
    return (
        layout.filtered_table(project),
        layout.deduplicated_table(project),
        layout.detections_table(project),
        layout.detected_frames_table(project),
    )


def _student_table(platform: Platform, project: str) -> Path:
    return platform.layout.student_disagreements(project)


def mark_of(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes whenever a file is replaced or changed, or None if the file does not exist."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def build_index(platform: Platform, project: str, config: ProjectConfig) -> ReviewIndex:
    """Build an index from the existing tables of a project.

    Raises:
        DamagedFileError: a table cannot be read.
        FileNotFoundError: a table was removed while it was being read.
    """
    filtered, deduplicated, *detected = (path.is_file() for path in _tables(platform, project))
    steps = Steps(f"review of {project}: prepared", "parts", _NUM_PARTS)
    codes = FrameCodes(_video_keys(platform, project))
    steps.reach(1)
    rules = BoxRules.of(config)
    classes = list(config.detection.classes)
    examined = None
    if filtered and deduplicated and all(detected):
        unique = unique_codes(platform, project, codes)
        steps.reach(2)
        examined = read_examined_frames(platform, project, codes, unique, classes)
    numbers, facts, num_objects = np.zeros(0, np.uint64), FrameFacts(0), np.zeros(len(classes), np.int64)
    near_threshold, rows = Ranking(np.zeros(0, np.int64), (np.zeros(0), np.zeros(0))), np.zeros(0, np.int64)
    if examined is not None:
        steps.reach(3)
        rows = rows_of_codes(examined.codes)
        numbers = sampling_numbers(codes.video_keys, codes.videos(examined.codes), examined.pts_seconds)
        facts = FrameFacts(len(examined.codes))
        num_objects = _count_objects(examined.boxes.arrays, rules, len(classes))
        for part in _parts(examined.boxes.arrays):
            facts.add(part, rules, num_objects)
        steps.reach(4)
        near_threshold = _near_threshold(examined, numbers, rules)
    steps.reach(5)
    filter_ranking, num_filter = _near_filter(platform, project, config, codes) if filtered else (_nothing(), 0)
    steps.reach(6)
    pairs, num_duplicates = _pairs(platform, project, codes) if deduplicated else ({}, 0)
    steps.reach(_NUM_PARTS)
    pa.default_memory_pool().release_unused()  # otherwise Arrow keeps the memory that reading the tables needed
    why_student, student = _student(platform, project, codes, rows)
    return ReviewIndex(
        config=config,
        classes=FrameClasses.of(config),
        codes=codes,
        rules=rules,
        examined=examined,
        rows=rows,
        numbers=numbers,
        facts=facts,
        num_objects=num_objects,
        student=student,
        why_student=why_student,
        near_threshold=near_threshold,
        filter=filter_ranking,
        duplicates=_rank_pairs(codes, pairs),
        pairs=pairs,
        num_filter=num_filter,
        num_duplicates=num_duplicates,
    )


def _nothing() -> Ranking:
    return Ranking(np.zeros(0, np.int64), (np.zeros(0), np.zeros(0)))


def _video_keys(platform: Platform, project: str) -> list[str]:
    keys: set[str] = set()
    for path in _tables(platform, project)[:2]:
        if path.is_file():
            for batch in read_batches(path, ["video_key"]):
                keys |= set(batch["video_key"].unique().to_pylist())
    return sorted(keys)


def _parts(boxes: BoxArrays) -> list[BoxArrays]:
    starts = range(0, len(boxes.frames), _BOXES_AT_A_TIME)
    return [boxes.some(slice(start, start + _BOXES_AT_A_TIME)) for start in starts]


def positions_of_class(index: ReviewIndex, class_index: int) -> Int64Array:
    """Return the positions of the examined frames with a detected box that is an object or an unsure box of a class."""
    return distances_of_class(index, class_index)[0]


def distances_of_class(index: ReviewIndex, class_index: int) -> tuple[Int64Array, Float64Array]:
    """Return the positions from `positions_of_class`, and the distance of each frame from the class's threshold.

    The distance is the smallest absolute difference between the threshold and the confidence of an object or unsure box
    of the class on the frame.
    """
    distances = np.full(len(index.rows), np.inf, np.float32)
    for part in _parts(index.examined.boxes.arrays) if index.examined is not None else []:
        boxes = part.some(np.flatnonzero(part.classes == class_index))
        boxes = boxes.some(np.flatnonzero(box_states(boxes, index.rules) != NO_OBJECT))
        np.minimum.at(distances, boxes.frames, np.abs(boxes.confidences - index.rules.thresholds[class_index]))
    positions = np.flatnonzero(np.isfinite(distances))
    return positions, distances[positions].astype(np.float64)


def _count_objects(boxes: BoxArrays, rules: BoxRules, num_classes: int) -> Int64Array:
    counts = np.zeros(num_classes, np.int64)
    for part in _parts(boxes):
        counts += np.bincount(part.classes[box_states(part, rules) == OBJECT], minlength=num_classes)
    return counts


def _near_threshold(examined: ExaminedFrames, numbers: UInt64Array, rules: BoxRules) -> Ranking:
    """Rank boxes near their class's threshold. The ranking cycles through the classes.

    The sort keys are a box's position among the questions about its class (`draw_near_threshold`) and the class index.
    """
    boxes = examined.boxes.arrays
    rows, turns, classes = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0)]
    for class_index, threshold in enumerate(rules.thresholds.tolist()):
        of_class = np.flatnonzero(boxes.classes == class_index)
        if not len(of_class):
            continue
        frames = boxes.frames[of_class]
        ordinals = of_class - examined.first_boxes[frames]
        box_numbers = mixed_numbers(numbers[frames] + ordinals.astype(np.uint64))
        chosen, asked_at = draw_near_threshold(boxes.confidences[of_class], threshold, box_numbers)
        rows.append(rows_of_codes(examined.codes[frames[chosen]], ordinals[chosen]))
        turns.append(asked_at)
        classes.append(np.full(len(chosen), float(class_index)))
    return Ranking(np.concatenate(rows), (np.concatenate(turns), np.concatenate(classes)))


def _student(platform: Platform, project: str, codes: FrameCodes, rows: Int64Array) -> tuple[dict[int, str], Ranking]:
    """Return how the student disagrees with the labels, by row, and a ranking of the rows.

    The frame with the most confident disputed box comes first. Only examined frames are included.
    """
    path = _student_table(platform, project)
    if not path.is_file():
        return {}, _nothing()
    found: dict[int, tuple[float, str]] = {}
    for batch in read_batches(path, ["frame_id", "confidence", "why"]):
        for frame_id, confidence, why in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            code = codes.of_frame(frame_id)
            if code is not None:
                found[int(rows_of_codes(np.array(code)))] = confidence, why
    asked = np.array(sorted(set(found) & set(rows.tolist())), np.int64)
    confidences = np.array([found[row][0] for row in asked.tolist()], np.float64)
    return {row: found[row][1] for row in asked.tolist()}, Ranking(asked, (-confidences,))


def _near_filter(platform: Platform, project: str, config: ProjectConfig, codes: FrameCodes) -> tuple[Ranking, int]:
    """Rank frames whose decision depends on the positive threshold. Return the ranking and the number of such frames.

    The frames nearest to the threshold come first. At most `MOST_OF_A_KIND` kept frames and the same number of dropped
    frames are ranked. The sort keys are the distance from the threshold and the headroom.
    """
    encoder = platform.models.filter_encoder
    rules = resolve_rules(config.filtering, encoder.name, encoder.calibration)
    thresholds = {rule.text: rule.threshold or 0.0 for rule in rules.positive}
    sides = (NearestToZero(MOST_OF_A_KIND), NearestToZero(MOST_OF_A_KIND))
    num_frames = 0
    columns = ["video_key", "frame_index", "positive_similarity", "positive_prompt", "is_kept", "drop_reason"]
    for batch in read_batches(platform.layout.filtered_table(project), columns):
        by_threshold = pc.fill_null(pc.equal(batch["drop_reason"], DropReason.BELOW_POSITIVE.value), False)
        batch = batch.filter(pc.and_(pc.or_(batch["is_kept"], by_threshold), batch["positive_similarity"].is_valid()))
        known = [thresholds.get(prompt, np.nan) for prompt in batch["positive_prompt"].to_pylist()]
        headroom = batch["positive_similarity"].to_numpy().astype(np.float64) - np.array(known, np.float64)
        rows, is_known = rows_of_codes(codes.of_batch(batch)), ~np.isnan(headroom)
        num_frames += int(is_known.sum())
        is_kept = batch["is_kept"].to_numpy(zero_copy_only=False)
        for side, where in zip(sides, (is_known & is_kept, is_known & ~is_kept), strict=True):
            side.add(rows[where], headroom[where])
    rows = np.concatenate([side.rows for side in sides])
    headroom = np.concatenate([side.values for side in sides])
    return Ranking(rows, (np.abs(headroom), headroom)), num_frames


def _pairs(platform: Platform, project: str, codes: FrameCodes) -> tuple[dict[int, DuplicatePair], int]:
    """Return the least similar pairs, by the duplicate's row, and the total number of pairs.

    At most `MOST_OF_A_KIND` pairs are returned. Duplicates without a stored similarity are left out, and so
    are duplicates of another project's frames, which people cannot judge in this project.
    """
    columns = ["frame_id", "video_key", "frame_index", "is_representative", "representative_frame_id", "similarity"]
    pairs: dict[int, DuplicatePair] = {}
    lowest, num_pairs = NearestToZero(MOST_OF_A_KIND), 0
    for batch in read_batches(platform.layout.deduplicated_table(project), [*columns, "tier"]):
        batch = batch.filter(pc.and_(pc.invert(batch["is_representative"]), batch["similarity"].is_valid()))
        batch = batch.filter(codes.knows(pc.replace_substring_regex(batch["representative_frame_id"], "/[0-9]+$", "")))
        rows = rows_of_codes(codes.of_batch(batch))
        lowest.add(rows, 1.0 + batch["similarity"].to_numpy().astype(np.float64))  # a cosine distance: from 0 to 2
        num_pairs += batch.num_rows
        is_kept, still_lowest = np.isin(rows, lowest.rows), set(lowest.rows.tolist())
        few = batch.filter(pa.array(is_kept))
        named = (few[name].to_pylist() for name in ("frame_id", "representative_frame_id", "similarity", "tier"))
        new = {row: DuplicatePair(*values) for row, *values in zip(rows[is_kept].tolist(), *named, strict=True)}
        pairs = {row: pair for row, pair in (pairs | new).items() if row in still_lowest}
    return pairs, num_pairs


def _rank_pairs(codes: FrameCodes, pairs: Mapping[int, DuplicatePair]) -> Ranking:
    rows = sorted(pairs)
    representatives = [codes.of_frame(pairs[row].representative_frame_id) or 0 for row in rows]
    similarities = [pairs[row].similarity for row in rows]
    return rank_duplicates(np.array(rows, np.int64), np.array(representatives, np.int64), np.array(similarities))
