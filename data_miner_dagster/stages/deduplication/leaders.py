"""Near-duplicates: the order of quality, the greedy choice of leaders, and the comparison that caught each pair.

The result has two guarantees, which `guarantees.py` checks:

    1. No two representatives are within reach of each other.
    2. Every removed frame is within reach of the representative it names, which precedes it in order.

Two frames are within reach of each other if their files are equal, their perceptual hashes are near
(`appearances.py`), or their cosine is at or above the threshold (`cosines.py`).

Belongs here: which frames are kept, and why. Does not belong here: where vectors and frames come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.precision import single_precision_error
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.protocols.indexes import VectorIndex
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances
from data_miner_dagster.stages.deduplication.cosines import (
    ALIKE,
    BoolArray,
    CandidatePairs,
    Float16Array,
    Float64Array,
    IntArray,
    VectorBlock,
    unit_rows,
)

BLOCK_ROWS: Final = 2048
"""Rows compared at once. Large enough for the matrix product to run at full speed; the products take 16 MB."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which frame represents each of N newcomers, given L leaders known before, in order.

    `representative_ids` is (N,): an id below L is a known leader, and L + r is newcomer r. A newcomer that names itself
    is a representative. `similarities` is (N,) float64: exact cosines, even for pairs matched by file or hash, and 1
    for a representative.
    """

    num_leaders: int
    representative_ids: IntArray
    similarities: Float64Array

    @property
    def is_representative(self) -> BoolArray:
        """(N,) True where the newcomer is kept."""
        own = np.arange(len(self.representative_ids)) + self.num_leaders
        return np.asarray(self.representative_ids == own)


def quality_order(frames: pa.Table) -> IntArray:
    """Return the row numbers of `frames`, best first.

    Sorts by generation (earlier first), positive similarity, sharpness and number of pixels (higher first), then
    frame id. The frame id makes the order total and independent of the order of the rows.

    Args:
        frames: has `generation`, `positive_similarity`, `sharpness`, `num_pixels` and `frame_id` (unique).
    """
    keys = [
        ("generation", "ascending"),
        ("positive_similarity", "descending"),
        ("sharpness", "descending"),
        ("num_pixels", "descending"),
        ("frame_id", "ascending"),
    ]
    return np.asarray(pc.sort_indices(frames, sort_keys=keys).to_numpy(), np.int64)


def standing_prefix(decided: pa.Table, order: pa.ChunkedArray, *, unchanged_videos: Sequence[str]) -> pa.Table:
    """Return the rows of an earlier table that remain valid for the first frames of a new order, in that order.

    The decision on a frame depends only on the frames before it, so decisions remain valid as long as both orders
    agree. A frame that was removed as a duplicate and no longer exists represented no other frame, so it is skipped.

    Args:
        decided: an earlier table, with `frame_id`, `video_key`, `quality_rank` and `is_representative`.
        order: ids of the frames to decide on, in order.
        unchanged_videos: keys of the videos whose frames are still the same pictures.
    """
    earlier = decided.sort_by("quality_rank").combine_chunks()
    is_unchanged = pc.is_in(earlier["video_key"], pa.array(unchanged_videos, pa.string()))
    is_there = pc.and_(is_unchanged, pc.is_in(earlier["frame_id"], order.combine_chunks()))
    is_counted = pc.or_(earlier["is_representative"], is_there)
    earlier, is_there = earlier.filter(is_counted), is_there.filter(is_counted)
    length = min(len(earlier), len(order))
    is_same = pc.and_(pc.equal(earlier["frame_id"].slice(0, length), order.slice(0, length)), is_there.slice(0, length))
    first_other = pc.index(is_same, False).as_py()  # -1: the orders agree to the end
    return earlier.slice(0, length if first_other < 0 else first_other).combine_chunks()


class _GrowingIds:
    """A growing array of the representatives' ids, in index order."""

    def __init__(self, num_leaders: int) -> None:
        self._buffer = np.arange(num_leaders, dtype=np.int64)
        self._length = num_leaders

    @property
    def values(self) -> IntArray:
        return self._buffer[: self._length]

    def extend(self, ids: IntArray) -> None:
        if self._length + len(ids) > len(self._buffer):
            grown = np.empty(2 * (self._length + len(ids)), np.int64)
            grown[: self._length] = self.values
            self._buffer = grown
        self._buffer[self._length : self._length + len(ids)] = ids
        self._length += len(ids)


def find_representatives(
    leaders: Float16Array,
    newcomers: Float16Array,
    threshold: float,
    index: VectorIndex,
    *,
    alike: AlikeRepresentatives | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Assignment:
    """Assign each newcomer, in order, to the most similar earlier representative within reach, or make it one.

    The leaders precede all newcomers and stay representatives. Adding newcomers to the result of an earlier call
    therefore yields the same result as one call over both, at a cost of newcomers x representatives. The earlier of
    equally similar representatives is chosen. There is no limit on neighbours.

    Args:
        leaders: (L, D) vectors that are representatives from the start, in order.
        newcomers: (N, D) vectors in order of quality, best first.
        threshold: two vectors at or above this cosine are near-duplicates.
        index: an empty index, filled here with the representatives. An exact index ensures both guarantees.
        alike: an empty index by appearance, filled here too. None: only embeddings decide.
        block_rows: rows processed at once. Does not change the result.
    """
    num_leaders = len(leaders)
    margin = max(index.similarity_error, single_precision_error(newcomers.shape[1]))
    for start in range(0, num_leaders, block_rows):
        index.add(unit_rows(leaders[start : start + block_rows]))
    if alike is not None:
        alike.add(np.arange(num_leaders))
    indexed_ids = _GrowingIds(num_leaders)
    representative_ids = np.arange(num_leaders, num_leaders + len(newcomers), dtype=np.int64)
    similarities = np.ones(len(newcomers), np.float64)

    for start in range(0, len(newcomers), block_rows):
        block = VectorBlock(leaders, newcomers, num_leaders + start, min(block_rows, len(newcomers) - start))
        units = unit_rows(block.vectors)
        offsets, positions, found = index.within(units, threshold - margin)
        rows = np.repeat(np.arange(block.num_rows), np.diff(offsets))
        known = CandidatePairs(rows, indexed_ids.values[positions], found)
        if alike is not None:
            known = known.joined(_alike_pairs(alike, block))

        is_open = ~_rows_within(known, block, threshold, margin)
        appearances = None if alike is None else alike.appearances
        fresh = _pairs_with_open_rows(units, is_open, threshold - margin, block.first_id, appearances)
        is_leader = _choose_leaders(fresh, is_open, block, threshold, margin)

        candidates = known.joined(fresh.chosen(is_leader[fresh.ids - block.first_id]))
        removed, ids, exact = _best_of_each(candidates.chosen(~is_leader[candidates.rows]), block, threshold, margin)
        representative_ids[start + removed] = ids
        similarities[start + removed] = exact

        leader_rows = np.flatnonzero(is_leader)
        index.add(units[leader_rows])
        indexed_ids.extend(leader_rows + block.first_id)
        if alike is not None:
            alike.add(leader_rows + block.first_id)
    return Assignment(num_leaders, representative_ids, similarities)


def _best_of_each(
    candidates: CandidatePairs, block: VectorBlock, threshold: float, margin: float
) -> tuple[IntArray, IntArray, Float64Array]:
    """Return the rows with a representative within reach, the id of the best one, and the exact cosine."""
    candidates = _near_best(candidates, block.num_rows, margin)
    exact = block.cosines(candidates)
    is_within = candidates.are_alike | (exact >= threshold)
    candidates, exact = candidates.chosen(is_within), exact[is_within]
    # In this order the last candidate of each row is the best: highest cosine, then the earliest representative.
    by_row = np.lexsort((-candidates.ids, exact, candidates.rows))
    rows, stops = _runs(candidates.rows[by_row])
    best = by_row[stops - 1]
    return rows, candidates.ids[best], exact[best]


def _alike_pairs(alike: AlikeRepresentatives, block: VectorBlock) -> CandidatePairs:
    rows, ids = alike.pairs_of(np.arange(block.first_id, block.first_id + block.num_rows))
    return CandidatePairs(rows, ids, np.full(len(ids), ALIKE, np.float32))


def _rows_within(pairs: CandidatePairs, block: VectorBlock, threshold: float, margin: float) -> BoolArray:
    # Rows with a partner within reach. Exact arithmetic runs only where the approximate cosines cannot decide.
    is_within = np.zeros(block.num_rows, np.bool_)
    is_within[pairs.rows[pairs.similarities >= threshold + margin]] = True
    doubtful = pairs.chosen(~is_within[pairs.rows])
    is_within[doubtful.rows[block.cosines(doubtful) >= threshold]] = True
    return is_within


def _pairs_with_open_rows(
    units: Float32Array, is_open: BoolArray, minimum: float, first_id: int, appearances: Appearances | None
) -> CandidatePairs:
    # Pairs of a row with an earlier open row of this block, sorted by row.
    open_rows = np.flatnonzero(is_open)
    products = units @ units[open_rows].T
    if appearances is not None:
        every_id = np.arange(first_id, first_id + len(units))
        products[appearances.are_alike(every_id[:, None], every_id[None, open_rows])] = ALIKE
    rows, columns = np.nonzero(products >= np.float32(minimum))
    is_before = open_rows[columns] < rows
    rows, columns = rows[is_before], columns[is_before]
    return CandidatePairs(rows, open_rows[columns] + first_id, products[rows, columns])


def _choose_leaders(
    pairs: CandidatePairs, is_open: BoolArray, block: VectorBlock, threshold: float, margin: float
) -> BoolArray:
    # In order, an open row becomes a leader unless an earlier leader is within reach.
    is_leader = is_open.copy()
    contested = pairs.chosen(is_open[pairs.rows])
    rows, stops = _runs(contested.rows)
    for row, start, stop in zip(rows.tolist(), [0, *stops[:-1].tolist()], stops.tolist(), strict=False):
        ids = contested.ids[start:stop]
        is_by_leader = is_leader[ids - block.first_id]
        near = contested.similarities[start:stop][is_by_leader]
        if np.any(near >= threshold + margin):
            is_leader[row] = False
        elif len(near):
            doubtful = CandidatePairs(np.full(len(near), row), ids[is_by_leader], near)
            is_leader[row] = not np.any(block.cosines(doubtful) >= threshold)
    return is_leader


def _near_best(pairs: CandidatePairs, num_rows: int, margin: float) -> CandidatePairs:
    # Pairs that may be the best of their row after exact comparison. `ALIKE` pairs stay: their cosine is unknown.
    are_alike = pairs.are_alike
    best = np.full(num_rows, -np.inf, np.float32)
    np.maximum.at(best, pairs.rows[~are_alike], pairs.similarities[~are_alike])
    return pairs.chosen(are_alike | (pairs.similarities >= best[pairs.rows] - 2 * margin))


def _runs(sorted_rows: IntArray) -> tuple[IntArray, IntArray]:
    # Returns (distinct values, exclusive end of each value's run).
    values, counts = np.unique(sorted_rows, return_counts=True)
    return values, np.cumsum(counts)


def tiers_of(frames: pa.Table, appearances: Appearances, ids: IntArray, named: IntArray) -> list[DuplicateTier]:
    """Return the simplest comparison that matches each removed frame with the representative it names.

    The first that applies counts: the representative comes from elsewhere (`foreign_tier`), the files are equal, the
    perceptual hashes are near, both frames come from one video. Otherwise they come from two videos.

    Args:
        frames: by id, with `video_key` and `foreign_tier` (null for own frames).
        appearances: appearances of the same frames.
        ids: (R,) ids of removed frames.
        named: (R,) ids of the representatives that they name.
    """
    video_codes = frames["video_key"].combine_chunks().dictionary_encode().indices.to_numpy()
    conditions = [
        appearances.have_equal_files(ids, named),
        appearances.have_near_hashes(ids, named),
        video_codes[ids] == video_codes[named],
    ]
    in_order = [
        DuplicateTier.EXACT,
        DuplicateTier.PERCEPTUAL_HASH,
        DuplicateTier.WITHIN_VIDEO,
        DuplicateTier.ACROSS_VIDEOS,
    ]
    chosen = np.select(conditions, range(len(conditions)), default=len(conditions))
    return [
        DuplicateTier(foreign) if foreign is not None else in_order[position]
        for foreign, position in zip(frames["foreign_tier"].take(named).to_pylist(), chosen.tolist(), strict=True)
    ]
