"""Find the most similar representative within reach of a frame, among candidate pairs.

Candidates are examined in order of their cosine, and only until the best one is certain. Deciding whether a pair
counts as different costs far more than a cosine, and with a fixed camera each frame may have any number of candidates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.stages.deduplication.cosines import BoolArray, CandidatePairs, IntArray, VectorBlock
from data_miner_dagster.stages.deduplication.distinctions import Distinctions
from data_miner_dagster.stages.vectors import Float64Array

_MOST_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Reach:
    """The conditions for two frames to be within reach. `margin` is the maximum error of an approximate cosine."""

    threshold: float
    margin: float
    distinctions: Distinctions


class BestWithin:
    """The best representative found so far within reach of each row. Without one, the id is -1 and the cosine -inf."""

    def __init__(self, num_rows: int) -> None:
        self.ids: IntArray = np.full(num_rows, -1, np.int64)
        self.cosines: Float64Array = np.full(num_rows, -np.inf)

    @property
    def is_missing(self) -> BoolArray:
        """(N,) True where no representative is within reach."""
        return np.asarray(self.ids < 0)

    def beaten_by(self, rows: IntArray, ids: IntArray, cosines: Float64Array) -> BoolArray:
        """Return a (P,) mask of the pairs that beat their row's best: more similar, or equally similar and earlier."""
        is_earlier = (cosines == self.cosines[rows]) & (ids < self.ids[rows])
        return np.asarray((cosines > self.cosines[rows]) | is_earlier)

    def take(self, rows: IntArray, ids: IntArray, cosines: Float64Array) -> None:
        """Store the best pair of each row. All pairs must beat the current best of their rows."""
        # In this order the last pair of each row is the best, and the last value assigned is the one that remains.
        by_row = np.lexsort((-ids, cosines, rows))
        last = by_row[np.append(np.flatnonzero(np.diff(rows[by_row])), len(rows) - 1)] if len(rows) else by_row
        self.ids[rows[last]] = ids[last]
        self.cosines[rows[last]] = cosines[last]


def find_best(pairs: CandidatePairs, block: VectorBlock, reach: Reach, best: BestWithin) -> None:
    """Update `best` for every row that has a better pair within reach."""
    pairs, are_alike = _with_cosines(pairs, block)
    by_row = np.lexsort((-pairs.similarities, pairs.rows))
    pairs, are_alike = pairs.chosen(by_row), are_alike[by_row]
    rows, counts = np.unique(pairs.rows, return_counts=True)
    stops = np.cumsum(counts)
    nexts = stops - counts
    num_at_once = 1
    while len(rows):
        # Later pairs of a row are no more similar than its next pair.
        is_going = nexts < stops
        is_going[is_going] = pairs.similarities[nexts[is_going]] >= best.cosines[rows[is_going]] - reach.margin
        rows, nexts, stops = rows[is_going], nexts[is_going], stops[is_going]
        chosen = _positions(nexts, np.minimum(nexts + num_at_once, stops))
        _improve(pairs.chosen(chosen), are_alike[chosen], block, reach, best)
        nexts = nexts + num_at_once
        num_at_once = min(2 * num_at_once, _MOST_AT_ONCE)


def is_any_within(pairs: CandidatePairs, block: VectorBlock, reach: Reach) -> bool:
    """Return whether any of the pairs, which all belong to one row, is within reach."""
    if reach.distinctions.is_empty and np.any(pairs.similarities >= reach.threshold + reach.margin):
        return True
    by_similarity = np.argsort(-pairs.similarities, kind="stable")
    start, num_at_once = 0, 1
    while start < len(by_similarity):
        part = pairs.chosen(by_similarity[start : start + num_at_once])
        part = part.chosen(part.are_alike | (block.cosines(part) >= reach.threshold))
        if len(part.ids) and not np.all(reach.distinctions.are_apart(part.rows + block.first_id, part.ids)):
            return True
        start += num_at_once
        num_at_once = min(2 * num_at_once, _MOST_AT_ONCE)
    return False


def _with_cosines(pairs: CandidatePairs, block: VectorBlock) -> tuple[CandidatePairs, BoolArray]:
    """Return the pairs with exact cosines in place of `ALIKE`, and a mask of the pairs that were marked as `ALIKE`."""
    are_alike = pairs.are_alike
    similarities = pairs.similarities.copy()
    similarities[are_alike] = block.cosines(pairs.chosen(are_alike))
    return CandidatePairs(pairs.rows, pairs.ids, similarities), are_alike


def _improve(pairs: CandidatePairs, are_alike: BoolArray, block: VectorBlock, reach: Reach, best: BestWithin) -> None:
    cosines = block.cosines(pairs)
    is_better = (are_alike | (cosines >= reach.threshold)) & best.beaten_by(pairs.rows, pairs.ids, cosines)
    pairs, cosines = pairs.chosen(is_better), cosines[is_better]
    if not reach.distinctions.is_empty:
        is_within = ~reach.distinctions.are_apart(pairs.rows + block.first_id, pairs.ids)
        pairs, cosines = pairs.chosen(is_within), cosines[is_within]
    best.take(pairs.rows, pairs.ids, cosines)


def _positions(starts: IntArray, stops: IntArray) -> IntArray:
    """Concatenate the half-open integer ranges from `starts` to `stops`."""
    lengths = stops - starts
    firsts = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(starts - firsts, lengths) + np.arange(int(lengths.sum())))
