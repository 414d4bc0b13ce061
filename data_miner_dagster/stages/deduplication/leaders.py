"""Near-duplicates: the order of quality, greedy leaders, and what caught each pair, so that:

    1. No two representatives are within reach of each other.
    2. Every removed frame is within reach of the representative it names, which comes before it in order.

Two frames are within reach of each other if their files are equal, or their perceptual hashes near (`appearances.py`),
or their cosine is at or above the threshold (`cosines.py`).

Belongs here: which frames are kept, and why. Does not belong here: where vectors and frames come from.

`guarantees.py` proves both.
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
"""Rows compared at once: large enough for the matrix product to run at full speed, 16 MB of products."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who represents whom. With L leaders known before and N newcomers, in order:

    `representative_ids` is (N,): below L, a leader known before; L + r, newcomer r. A newcomer that names itself is a
    representative. `similarities` is (N,) float64, exact cosines, also of pairs that are alike in another way; 1 for a
    representative.
    """

    num_leaders: int
    representative_ids: IntArray
    similarities: Float64Array

    @property
    def is_representative(self) -> BoolArray:
        """(N,): the newcomers that are kept."""
        own = np.arange(len(self.representative_ids)) + self.num_leaders
        return np.asarray(self.representative_ids == own)


def quality_order(frames: pa.Table) -> IntArray:
    """Return the row numbers of `frames`, best first.

    Earlier generations come first; within one, higher positive similarity, higher sharpness, more pixels, and last
    the frame id, so that the order is total and does not depend on the order of the rows.

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
    """Return the rows of an earlier table that are still true of the first frames of a new order, in that order.

    What becomes of a frame follows from the frames before it alone. So decisions stand as far as the two orders agree;
    a frame that was removed as a duplicate and is gone now was nobody's representative, and is passed over.

    Args:
        decided: an earlier table, with `frame_id`, `video_key`, `quality_rank` and `is_representative`.
        order: the ids of the frames to decide on, in order.
        unchanged_videos: those whose frames are still the same pictures.
    """
    earlier = decided.sort_by("quality_rank").combine_chunks()
    is_unchanged = pc.is_in(earlier["video_key"], pa.array(unchanged_videos, pa.string()))
    is_there = pc.and_(is_unchanged, pc.is_in(earlier["frame_id"], order.combine_chunks()))
    is_counted = pc.or_(earlier["is_representative"], is_there)
    earlier, is_there = earlier.filter(is_counted), is_there.filter(is_counted)
    length = min(len(earlier), len(order))
    is_same = pc.and_(pc.equal(earlier["frame_id"].slice(0, length), order.slice(0, length)), is_there.slice(0, length))
    first_other = pc.index(is_same, False).as_py()  # -1: they agree to the end
    return earlier.slice(0, length if first_other < 0 else first_other).combine_chunks()


class _GrowingIds:
    """The ids of the representatives in the order in which the index has them."""

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
    """Let each newcomer, in order, name the most similar representative within reach before it, or become one itself.

    The leaders come before all newcomers and stay what they are, so adding newcomers to what an earlier call kept
    gives what one call over both would have given, and costs newcomers x representatives. Of equally similar
    representatives the earlier is named. There is no cap on neighbours.

    Args:
        leaders: (L, D) vectors that count as representatives from the start, in order.
        newcomers: (N, D) vectors in order of quality, best first.
        threshold: two vectors at or above this cosine are near-duplicates.
        index: empty; filled here with the representatives. With an exact one both guarantees hold.
        alike: empty; filled here too. None: embeddings alone decide.
        block_rows: rows handled at once; does not change the result.
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
    """Return each row that has a representative within reach, the best one's id, and their exact cosine."""
    candidates = _near_best(candidates, block.num_rows, margin)
    exact = block.cosines(candidates)
    is_within = candidates.are_alike | (exact >= threshold)
    candidates, exact = candidates.chosen(is_within), exact[is_within]
    # The last of each row in this sorting is its best: highest cosine, then the earliest representative.
    by_row = np.lexsort((-candidates.ids, exact, candidates.rows))
    rows, stops = _runs(candidates.rows[by_row])
    best = by_row[stops - 1]
    return rows, candidates.ids[best], exact[best]


def _alike_pairs(alike: AlikeRepresentatives, block: VectorBlock) -> CandidatePairs:
    rows, ids = alike.pairs_of(np.arange(block.first_id, block.first_id + block.num_rows))
    return CandidatePairs(rows, ids, np.full(len(ids), ALIKE, np.float32))


def _rows_within(pairs: CandidatePairs, block: VectorBlock, threshold: float, margin: float) -> BoolArray:
    # Which rows have a partner within reach: exact arithmetic only where the candidates cannot tell.
    is_within = np.zeros(block.num_rows, np.bool_)
    is_within[pairs.rows[pairs.similarities >= threshold + margin]] = True
    doubtful = pairs.chosen(~is_within[pairs.rows])
    is_within[doubtful.rows[block.cosines(doubtful) >= threshold]] = True
    return is_within


def _pairs_with_open_rows(
    units: Float32Array, is_open: BoolArray, minimum: float, first_id: int, appearances: Appearances | None
) -> CandidatePairs:
    # Pairs of any row with an open row before it, both of this block; sorted by row.
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
    # Of the open rows, in order: a leader unless a leader before it is within reach.
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
    # The pairs that may be their row's best once compared exactly. Of those alike otherwise it is not known.
    are_alike = pairs.are_alike
    best = np.full(num_rows, -np.inf, np.float32)
    np.maximum.at(best, pairs.rows[~are_alike], pairs.similarities[~are_alike])
    return pairs.chosen(are_alike | (pairs.similarities >= best[pairs.rows] - 2 * margin))


def _runs(sorted_rows: IntArray) -> tuple[IntArray, IntArray]:
    # (the distinct values, where the run of each ends: half-open)
    values, counts = np.unique(sorted_rows, return_counts=True)
    return values, np.cumsum(counts)


def tiers_of(frames: pa.Table, appearances: Appearances, ids: IntArray, named: IntArray) -> list[DuplicateTier]:
    """Return, for each removed frame and the representative it names, the plainest comparison that tells them alike.

    In this order: the representative is of elsewhere (`foreign_tier`); the files are equal; the perceptual hashes are
    near; both are of one video; otherwise, of two.

    Args:
        frames: by id, with `video_key` and `foreign_tier` (null for own frames).
        appearances: of the same frames.
        ids: (R,) removed frames.
        named: (R,) the representatives they name.
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
