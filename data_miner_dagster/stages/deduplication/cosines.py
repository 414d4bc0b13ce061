"""Exact cosines of stored vectors, and the candidate pairs for which they are computed.

Fast float32 products propose pairs. `exact_cosines` decides wherever rounding could matter. A pair exactly on the
threshold is therefore decided the same way for any block size, number of threads or input order.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.stages.vectors import Float16Array, Float64Array, exact_cosines

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ALIKE: Final = np.float32(np.inf)
"""The value that replaces the cosine of a candidate pair with equal files or near hashes."""

_EXACT_CHUNK_PAIRS: Final = 4096


@dataclass(frozen=True, slots=True)
class CandidatePairs:
    """Pairs of a row `rows[i]` of a block and a frame `ids[i]`, each with its approximate cosine or `ALIKE`."""

    rows: IntArray
    ids: IntArray
    similarities: Float32Array

    @property
    def are_alike(self) -> BoolArray:
        """(P,) True where a pair has equal files or near hashes, so its cosine does not matter."""
        return np.asarray(self.similarities == ALIKE)

    def chosen(self, is_chosen: BoolArray | IntArray) -> "CandidatePairs":
        """Return the pairs selected by `is_chosen`, which is a mask or an array of positions."""
        return CandidatePairs(self.rows[is_chosen], self.ids[is_chosen], self.similarities[is_chosen])

    def joined(self, other: "CandidatePairs") -> "CandidatePairs":
        """Return these pairs, followed by the pairs in `other`."""
        return CandidatePairs(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.similarities, other.similarities]),
        )


@dataclass(frozen=True, slots=True)
class VectorBlock:
    """`num_rows` consecutive newcomers that are processed together. The id of the first is `first_id`.

    Ids are as in `Assignment`: the leaders have the first ids, and the newcomers have the following ones.
    """

    leaders: Float16Array
    newcomers: Float16Array
    first_id: int
    num_rows: int

    @property
    def vectors(self) -> Float16Array:
        """The vectors of the block."""
        start = self.first_id - len(self.leaders)
        return self.newcomers[start : start + self.num_rows]

    def by_id(self, ids: IntArray) -> Float16Array:
        """Return the vectors of the leaders and newcomers with these ids, in the order of `ids`."""
        vectors = np.empty((len(ids), self.newcomers.shape[1]), np.float16)
        is_new = ids >= len(self.leaders)
        vectors[is_new] = self.newcomers[ids[is_new] - len(self.leaders)]
        vectors[~is_new] = self.leaders[ids[~is_new]]
        return vectors

    def cosines(self, pairs: CandidatePairs) -> Float64Array:
        """Return the exact cosine of each pair."""
        cosines = np.empty(len(pairs.ids), np.float64)
        for start in range(0, len(pairs.ids), _EXACT_CHUNK_PAIRS):
            part = slice(start, start + _EXACT_CHUNK_PAIRS)
            cosines[part] = exact_cosines(self.vectors[pairs.rows[part]], self.by_id(pairs.ids[part]))
        return cosines
