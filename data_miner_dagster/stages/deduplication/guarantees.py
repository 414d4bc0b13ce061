"""Prove or refute the two guarantees of deduplication from vectors, files, hashes and pairs that count as different.

    1. No two representatives are within reach of each other.
    2. Every duplicate names a representative that precedes it and is within reach of it.

Within reach means equal files, near hashes, or a cosine at or above the threshold, unless the two frames count as
different.

Belongs here: the proof, written without the index and shortcuts of the search that it checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.domain.precision import single_precision_error
from data_miner_dagster.stages.deduplication.appearances import Appearances
from data_miner_dagster.stages.deduplication.cosines import ALIKE, BoolArray, CandidatePairs, IntArray, VectorBlock
from data_miner_dagster.stages.vectors import Float16Array, unit_rows

_BLOCK_ROWS: Final = 2048
_LISTED_PAIRS: Final = 20


@dataclass(frozen=True, slots=True)
class GuaranteeReport:
    """The result of checking the two guarantees of deduplication.

    `too_close_pairs` and `unsupported_pairs` each contain at most 20 pairs of ids, as in `Assignment`.
    """

    num_representatives: int
    num_representatives_checked: int  # smaller if only a sample was compared
    num_duplicates: int
    num_too_close: int  # checked representatives with an earlier representative within reach
    num_unsupported: int  # duplicates whose named frame is not an earlier representative or is not within reach
    too_close_pairs: tuple[tuple[int, int], ...]
    unsupported_pairs: tuple[tuple[int, int], ...]

    @property
    def holds(self) -> bool:
        """True if no violation of either guarantee was found."""
        return not self.num_too_close and not self.num_unsupported

    @property
    def recall(self) -> float:
        """The fraction of duplicates that were found. It is exactly 1 if the first guarantee holds.

        For a sample, it is an estimate: the number of superfluous representatives is scaled up from the sample to all
        representatives.
        """
        missed = self.num_too_close * self.num_representatives / max(self.num_representatives_checked, 1)
        return self.num_duplicates / (self.num_duplicates + missed) if self.num_duplicates + missed else 1.0


def verify_guarantees(
    leaders: Float16Array,
    newcomers: Float16Array,
    representative_ids: IntArray,
    threshold: float,
    *,
    appearances: Appearances | None = None,
    sample_size: int | None = None,
) -> GuaranteeReport:
    """Check the two guarantees of deduplication by comparing pairs again, without an index.

    With a sample, violations of the first guarantee may go unnoticed.

    Args:
        leaders: (L, D) vectors of previously known representatives. They are not compared with each other.
        newcomers: (N, D) vectors, in order.
        representative_ids: (N,) ids, as in `Assignment`.
        threshold: the threshold used by the search.
        appearances: appearances of leaders and newcomers, if the search used them.
        sample_size: compare only this many evenly spread representatives with all earlier ones. If None, compare all.
    """
    num_leaders = len(leaders)
    own_ids = np.arange(len(newcomers)) + num_leaders
    is_kept = representative_ids == own_ids
    kept_rows, duplicate_rows = np.flatnonzero(is_kept), np.flatnonzero(~is_kept)
    everything = VectorBlock(leaders, newcomers, num_leaders, len(newcomers))
    relation = _Relation(everything, threshold, appearances)

    is_known = np.concatenate([np.ones(num_leaders, np.bool_), is_kept])
    named = representative_ids[duplicate_rows]
    supported = is_known[named] & (named < own_ids[duplicate_rows])
    supported &= relation.are_within(duplicate_rows, named)
    unsupported = duplicate_rows[~supported]

    checked = np.arange(len(kept_rows))
    if sample_size is not None and sample_size < len(kept_rows):
        checked = np.linspace(0, len(kept_rows) - 1, sample_size).astype(np.int64)
    close_rows: set[int] = set()
    close_pairs: list[tuple[int, int]] = []
    for rows, ids in _close_pairs(relation, kept_rows, checked):
        close_rows.update(rows.tolist())
        close_pairs += zip((rows + num_leaders).tolist(), ids.tolist(), strict=True)
        close_pairs = close_pairs[:_LISTED_PAIRS]
    listed = unsupported[:_LISTED_PAIRS]
    return GuaranteeReport(
        num_representatives=len(kept_rows),
        num_representatives_checked=len(checked),
        num_duplicates=len(duplicate_rows),
        num_too_close=len(close_rows),
        num_unsupported=len(unsupported),
        too_close_pairs=tuple(close_pairs),
        unsupported_pairs=tuple(zip(own_ids[listed].tolist(), representative_ids[listed].tolist(), strict=True)),
    )


@dataclass(frozen=True, slots=True)
class _Relation:
    """Decides which frames are within reach of each other."""

    everything: VectorBlock
    threshold: float
    appearances: Appearances | None

    def are_within(self, rows: IntArray, ids: IntArray) -> BoolArray:
        """Return a (P,) mask of the pairs (newcomer's row, frame id) that are within reach."""
        pairs = CandidatePairs(rows, ids, np.zeros(len(ids), np.float32))
        own_ids = rows + len(self.everything.leaders)
        is_within = self.everything.cosines(pairs) >= self.threshold
        if self.appearances is not None:
            is_within |= self.appearances.are_alike(own_ids, ids)
            near = np.flatnonzero(is_within)
            is_within[near] = ~self.appearances.distinctions.are_apart(own_ids[near], ids[near])
        return is_within


def _close_pairs(relation: _Relation, kept_rows: IntArray, checked: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    # Yields (rows, ids): checked representatives, and earlier representatives within reach of them.
    everything, appearances = relation.everything, relation.appearances
    num_leaders = len(everything.leaders)
    minimum = np.float32(relation.threshold - single_precision_error(everything.newcomers.shape[1]))
    earlier_ids = np.concatenate([np.arange(num_leaders), kept_rows + num_leaders])
    for start in range(0, len(checked), _BLOCK_ROWS):
        rows = kept_rows[checked[start : start + _BLOCK_ROWS]]
        units = unit_rows(everything.newcomers[rows])
        num_earlier = int(np.searchsorted(earlier_ids, rows[-1] + num_leaders))
        for other_start in range(0, num_earlier, _BLOCK_ROWS):
            ids = earlier_ids[other_start : min(other_start + _BLOCK_ROWS, num_earlier)]
            others = unit_rows(everything.by_id(ids))
            products = units @ others.T
            if appearances is not None:
                products[appearances.are_alike((rows + num_leaders)[:, None], ids[None, :])] = ALIKE
            near_rows, near_columns = np.nonzero(products >= minimum)
            is_before = ids[near_columns] < rows[near_rows] + num_leaders
            near_rows, near_ids = rows[near_rows[is_before]], ids[near_columns[is_before]]
            is_close = relation.are_within(near_rows, near_ids)
            if np.any(is_close):
                yield near_rows[is_close], near_ids[is_close]
