"""Order frames by quality, choose leaders greedily, and name the comparison that matched each duplicate.

The result has two guarantees, which `guarantees.py` checks:

    1. No two representatives are within reach of each other.
    2. Every duplicate names a representative that precedes it and is within reach of it.

Two frames are within reach of each other if their files are equal, their perceptual hashes are near
(`appearances.py`), or their cosine is at or above the threshold (`cosines.py`), unless they count as different
(`distinctions.py`).

Belongs here: which frames become representatives, and why. Does not belong here: the source of vectors and frames.
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
from data_miner_dagster.stages.deduplication.cosines import ALIKE, BoolArray, CandidatePairs, IntArray, VectorBlock
from data_miner_dagster.stages.deduplication.distinctions import NOTHING_APART
from data_miner_dagster.stages.deduplication.reach import BestWithin, Reach, find_best, is_any_within
from data_miner_dagster.stages.vectors import Float16Array, Float64Array, unit_rows

BLOCK_ROWS: Final = 2048
"""The number of rows to compare in one step: enough for the matrix product to run at full speed. The products take
16 MB."""
_BLOCK_ROWS_TOLD_APART: Final = 256
"""The number of rows to compare in one step if some pairs must not become duplicates. A row can then have any number of
representatives at a cosine within reach, and pairs within a block are examined row by row."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The representative of each of N newcomers, given L previously known leaders, in order.

    `representative_ids` is (N,): an id below L is a known leader, and L + r is newcomer r. A newcomer that names itself
    is a representative. `similarities` is (N,) float64: exact cosines, even for pairs matched by file or hash, and 1
    for a representative.
    """

    num_leaders: int
    representative_ids: IntArray
    similarities: Float64Array

    @property
    def is_representative(self) -> BoolArray:
        """(N,) True where the newcomer is a representative."""
        own = np.arange(len(self.representative_ids)) + self.num_leaders
        return np.asarray(self.representative_ids == own)


def quality_order(frames: pa.Table, chosen: Sequence[str] = ()) -> IntArray:
    """Return the row numbers of `frames`, best first. Frames that a person chose come before all others.

    Frames are sorted by generation (earlier first), positive similarity, sharpness and number of pixels (higher first),
    then frame id. The frame id makes the order total and independent of the order of the rows.

    Args:
        frames: a table with `generation`, `positive_similarity`, `sharpness`, `num_pixels` and `frame_id` (unique).
        chosen: the ids of frames that a person chose as representatives, in order.
    """
    keys = [
        ("generation", "ascending"),
        ("positive_similarity", "descending"),
        ("sharpness", "descending"),
        ("num_pixels", "descending"),
        ("frame_id", "ascending"),
    ]
    order = np.asarray(pc.sort_indices(frames, sort_keys=keys).to_numpy(), np.int64)
    if not chosen:
        return order
    places = pc.index_in(frames["frame_id"].combine_chunks(), value_set=pa.array(chosen, pa.string()))
    places = np.asarray(pc.fill_null(places, len(chosen)).to_numpy(zero_copy_only=False), np.int64)
    return np.asarray(order[np.argsort(places[order], kind="stable")])


def standing_prefix(decided: pa.Table, order: pa.ChunkedArray, *, unchanged_videos: Sequence[str]) -> pa.Table:
    """Return the rows of an earlier table that remain valid for the first frames of a new order, in that order.

    The decision on a frame depends only on the frames before it, so decisions remain valid until the orders differ or
    a frame belongs to a changed video. A duplicate that no longer exists represented no other frame, so it is ignored.

    Args:
        decided: an earlier table, with `frame_id`, `video_key`, `quality_rank` and `is_representative`.
        order: the frame ids of all kept frames, in the new order.
        unchanged_videos: keys of the videos whose frames have not changed.
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
    """Assign each newcomer, in order, to the most similar earlier representative, or make it a representative.

    Only representatives within reach (defined at the top of this module) are considered. The earliest of equally
    similar ones is chosen. The number of neighbours is not limited. The leaders precede all newcomers and stay
    representatives. Adding newcomers to the result of an earlier call therefore yields the same result as a single call
    with all frames, in time proportional to the number of newcomers times the number of representatives.

    Args:
        leaders: (L, D) vectors that are representatives from the start, in order.
        newcomers: (N, D) vectors in order of quality, best first.
        threshold: two vectors at or above this cosine are near-duplicates.
        index: an empty index, filled here with the representatives. If it is exact, the module's guarantees hold.
        alike: an empty index by appearance, also filled here. It brings frames with equal files or near hashes within
            reach, and excludes the pairs in its `distinctions`. If it is None, only embeddings decide.
        block_rows: the number of rows to process in one step. It does not affect the result.

    Example:
        >>> from data_miner_dagster.index.faiss_index import FaissIndex
        >>> newcomers = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float16)
        >>> found = find_representatives(np.empty((0, 2), np.float16), newcomers, 0.7, FaissIndex(2))
        >>> found.representative_ids.tolist(), found.is_representative.tolist()
        ([0, 1, 0], [True, True, False])
    """
    num_leaders = len(leaders)
    margin = max(index.similarity_error, single_precision_error(newcomers.shape[1]))
    reach = Reach(threshold, margin, NOTHING_APART if alike is None else alike.appearances.distinctions)
    if not reach.distinctions.is_empty:
        block_rows = min(block_rows, _BLOCK_ROWS_TOLD_APART)
    for start in range(0, num_leaders, block_rows):
        index.add(unit_rows(leaders[start : start + block_rows]))
    if alike is not None:
        alike.add(np.arange(num_leaders))
    known = _Known(index, alike, _GrowingIds(num_leaders))
    representative_ids = np.arange(num_leaders, num_leaders + len(newcomers), dtype=np.int64)
    similarities = np.ones(len(newcomers), np.float64)

    for start in range(0, len(newcomers), block_rows):
        block = VectorBlock(leaders, newcomers, num_leaders + start, min(block_rows, len(newcomers) - start))
        units = unit_rows(block.vectors)
        best = known.best_of(block, units, reach)
        appearances = None if alike is None else alike.appearances
        fresh = _pairs_with_open_rows(units, best.is_missing, threshold - margin, block.first_id, appearances)
        is_leader = _choose_leaders(fresh, best.is_missing, block, reach)
        fresh = fresh.chosen(is_leader[fresh.ids - block.first_id] & ~is_leader[fresh.rows])
        find_best(fresh, block, reach, best)

        removed, leader_rows = np.flatnonzero(~is_leader), np.flatnonzero(is_leader)
        representative_ids[start + removed] = best.ids[removed]
        similarities[start + removed] = best.cosines[removed]
        known.add(leader_rows + block.first_id, units[leader_rows])
    return Assignment(num_leaders, representative_ids, similarities)


@dataclass(frozen=True, slots=True)
class _Known:
    """The representatives of earlier blocks, by vector and by appearance."""

    index: VectorIndex
    alike: AlikeRepresentatives | None
    ids: _GrowingIds

    def add(self, ids: IntArray, units: Float32Array) -> None:
        self.index.add(units)
        self.ids.extend(ids)
        if self.alike is not None:
            self.alike.add(ids)

    def best_of(self, block: VectorBlock, units: Float32Array, reach: Reach) -> BestWithin:
        """Return the most similar representative within reach of each row of a block, if there is one."""
        offsets, positions, found = self.index.within(units, reach.threshold - reach.margin)
        rows = np.repeat(np.arange(block.num_rows), np.diff(offsets))
        pairs = CandidatePairs(rows, self.ids.values[positions], found)
        if self.alike is not None:
            rows, ids = self.alike.pairs_of(np.arange(block.first_id, block.first_id + block.num_rows))
            pairs = pairs.joined(CandidatePairs(rows, ids, np.full(len(ids), ALIKE, np.float32)))
        best = BestWithin(block.num_rows)
        find_best(pairs, block, reach, best)
        return best


def _pairs_with_open_rows(
    units: Float32Array, is_open: BoolArray, minimum: float, first_id: int, appearances: Appearances | None
) -> CandidatePairs:
    # The pairs of a row with an earlier open row of this block, sorted by row.
    open_rows = np.flatnonzero(is_open)
    products = units @ units[open_rows].T
    if appearances is not None:
        every_id = np.arange(first_id, first_id + len(units))
        products[appearances.are_alike(every_id[:, None], every_id[None, open_rows])] = ALIKE
    rows, columns = np.nonzero(products >= np.float32(minimum))
    is_before = open_rows[columns] < rows
    rows, columns = rows[is_before], columns[is_before]
    return CandidatePairs(rows, open_rows[columns] + first_id, products[rows, columns])


def _choose_leaders(pairs: CandidatePairs, is_open: BoolArray, block: VectorBlock, reach: Reach) -> BoolArray:
    # In order, each open row becomes a leader unless an earlier leader is within reach.
    is_leader = is_open.copy()
    contested = pairs.chosen(is_open[pairs.rows])
    rows, counts = np.unique(contested.rows, return_counts=True)
    stops = np.cumsum(counts)
    for row, start, stop in zip(rows.tolist(), [0, *stops[:-1].tolist()], stops.tolist(), strict=False):
        ids = contested.ids[start:stop]
        is_by_leader = is_leader[ids - block.first_id]
        near = np.arange(start, stop)[is_by_leader]
        is_leader[row] = not is_any_within(contested.chosen(near), block, reach)
    return is_leader


def tiers_of(frames: pa.Table, appearances: Appearances, ids: IntArray, named: IntArray) -> list[DuplicateTier]:
    """Return the tier of each duplicate, which states why the duplicate matches the representative that it names.

    The tier is the first of these that applies: the representative's `foreign_tier`, equal files, near perceptual
    hashes, or frames from one video. Otherwise, the frames come from two videos.

    Args:
        frames: a table indexed by id, with `video_key` and `foreign_tier` (null for the project's own frames).
        appearances: appearances of the same frames.
        ids: (R,) ids of duplicates.
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
