"""Choose the index for finding near-duplicates: exact if that is affordable, else clustered and tuned."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.catalog.renewal import note_progress
from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.index.faiss_index import ClusteredFaissIndex, FaissIndex, num_clusters_for
from data_miner_dagster.protocols.indexes import VectorIndex
from data_miner_dagster.stages.vectors import Float16Array, unit_rows

_BLOCK_ROWS: Final = 8192
_TRAINING_ROWS_PER_CLUSTER: Final = 40
_TUNING_QUERIES: Final = 2000
_TUNING_PAIRS: Final = 20_000
_UNTUNED_SHARE: Final = 1 / 16
"""The share of the clusters to visit if the sample has no near-duplicates from which to determine it."""


class SearchKind(StrEnum):
    """The kind of search that found near-duplicates."""

    EXACT = "exact"
    CLUSTERED = "clustered"


@dataclass(frozen=True, slots=True)
class DuplicateSearch:
    """An empty index, and its kind of search. The counts of clusters are 0 if the search is exact."""

    index: VectorIndex
    kind: SearchKind
    num_clusters: int = 0
    num_probes: int = 0  # clusters to visit in each search


def is_exact_affordable(num_leaders: int, num_newcomers: int, exact_up_to_frames: int) -> bool:
    """Return whether an exact search needs no more comparisons than there are pairs of `exact_up_to_frames` frames."""
    return num_newcomers * (num_leaders + num_newcomers / 2) <= exact_up_to_frames**2 / 2


def choose_search(
    leaders: Float16Array, newcomers: Float16Array, threshold: float, config: DeduplicationConfig
) -> DuplicateSearch:
    """Return a search for near-duplicates among `leaders` and `newcomers`: exact if that is affordable, else clustered.

    The result is deterministic, and its index is empty. The clustered index is trained on rows spread evenly over all
    vectors. An exact search finds the true near-duplicates of a sample, and the index is set to visit enough clusters
    to find the required share of them. If the sample has no near-duplicates, a fixed share of the clusters is visited.
    """
    dimension = newcomers.shape[1]
    if is_exact_affordable(len(leaders), len(newcomers), config.exact_up_to_frames):
        return DuplicateSearch(FaissIndex(dimension), SearchKind.EXACT)
    vectors = _Stack(leaders, newcomers)
    num_clusters = num_clusters_for(len(vectors))
    training_rows = _spread(len(vectors), _TRAINING_ROWS_PER_CLUSTER * num_clusters)
    index = ClusteredFaissIndex(unit_rows(vectors.rows(training_rows)), num_clusters=num_clusters, num_probes=1)
    queries, others = _near_pairs(vectors, len(leaders), threshold)
    if len(queries):
        needed = index.probes_needed(unit_rows(vectors.rows(queries)), unit_rows(vectors.rows(others)))
        # Half of the allowed misses are held in reserve, because results differ between samples.
        share = (1 + config.minimum_recall) / 2
        index.num_probes = int(np.quantile(needed, share, method="higher"))
    else:
        index.num_probes = max(int(num_clusters * _UNTUNED_SHARE), 1)
    return DuplicateSearch(index, SearchKind.CLUSTERED, num_clusters, index.num_probes)


@dataclass(frozen=True, slots=True)
class _Stack:
    """Representatives and newcomers as one sequence of vectors, without a copy."""

    leaders: Float16Array
    newcomers: Float16Array

    def __len__(self) -> int:
        return len(self.leaders) + len(self.newcomers)

    def rows(self, ids: npt.NDArray[np.int64]) -> Float16Array:
        chosen = np.empty((len(ids), self.newcomers.shape[1]), np.float16)
        is_new = ids >= len(self.leaders)
        chosen[is_new] = self.newcomers[ids[is_new] - len(self.leaders)]
        chosen[~is_new] = self.leaders[ids[~is_new]]
        return chosen

    def unit_blocks(self) -> Iterator[tuple[npt.NDArray[np.int64], Float32Array]]:
        for start in range(0, len(self), _BLOCK_ROWS):
            note_progress()
            ids = np.arange(start, min(start + _BLOCK_ROWS, len(self)))
            yield ids, unit_rows(self.rows(ids))


def _spread(num: int, at_most: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, num - 1, min(num, at_most)).astype(np.int64))


def _near_pairs(
    vectors: _Stack, num_leaders: int, threshold: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the (later, earlier) ids of up to `_TUNING_PAIRS` pairs of near-duplicates.

    Each pair includes a frame from a sample of the newcomers.
    """
    sample = num_leaders + _spread(len(vectors.newcomers), _TUNING_QUERIES)
    index = FaissIndex(vectors.newcomers.shape[1])
    index.add(unit_rows(vectors.rows(sample)))
    found: list[npt.NDArray[np.int64]] = []
    for ids, units in vectors.unit_blocks():
        offsets, positions, _ = index.within(units, threshold)
        pairs = np.stack([np.repeat(ids, np.diff(offsets)), sample[positions]])
        pairs = pairs[:, pairs[0] != pairs[1]]
        found.append(pairs[:, _spread(pairs.shape[1], _TUNING_PAIRS)] if pairs.shape[1] else pairs)
    together = np.concatenate(found, axis=1)
    if together.shape[1] > _TUNING_PAIRS:
        together = together[:, _spread(together.shape[1], _TUNING_PAIRS)]
    return together.max(axis=0), together.min(axis=0)
