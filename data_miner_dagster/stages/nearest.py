"""Find the exact nearest neighbours of a vector among any number of vectors that arrive in portions."""

import threading
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.precision import single_precision_error
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.stages.vectors import Float16Array, Float64Array

_SHORTEST: Final = 1e-12


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """A vector and its similarity to the query. Matches sort by descending similarity, then by group and number."""

    distance: float  # the cosine, negated
    group: str
    number: int

    @property
    def cosine(self) -> float:
        """The cosine of the vector and the query."""
        return -self.distance


class Nearest:
    """Collects the vectors most similar to a query. Thread-safe.

    Single-precision products exclude vectors that cannot be among the most similar. The cosines of the rest are
    computed in double precision. The result depends neither on the order of the portions nor on their sizes.
    """

    def __init__(self, query: Float32Array, count: int) -> None:
        """Start without vectors.

        Args:
            query: (D,) a nonzero vector, which need not be normalized.
            count: the number of vectors to keep.
        """
        self._query = query.astype(np.float64) / max(float(np.linalg.norm(query.astype(np.float64))), _SHORTEST)
        self._fast_query = self._query.astype(np.float32)
        self._margin = np.float32(2 * single_precision_error(len(query)))
        self._count = count
        self._kept: list[Match] = []
        self._least = np.float32(-np.inf)  # no vector with a smaller product can be among those kept
        self._lock = threading.Lock()

    def offer(self, group: str, numbers: npt.NDArray[np.int32], vectors: Float16Array) -> None:
        """Consider the (N, D) vectors of one group, each with its number."""
        rows = vectors.astype(np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        products = (rows @ self._fast_query) / np.maximum(norms, np.float32(_SHORTEST))
        least = self._least
        if len(products) > self._count:
            least = max(least, np.partition(products, -self._count)[-self._count] - self._margin)
        chosen = np.flatnonzero(products >= least)
        if not len(chosen):
            return
        cosines = self._cosines(vectors[chosen])
        found = [Match(-float(cosine), group, int(numbers[row])) for cosine, row in zip(cosines, chosen, strict=True)]
        with self._lock:
            self._kept = sorted([*self._kept, *found])[: self._count]
            if len(self._kept) == self._count:
                self._least = np.float32(self._kept[-1].cosine) - self._margin

    @property
    def matches(self) -> tuple[Match, ...]:
        """The most similar vectors so far, in the order of `Match`."""
        return tuple(self._kept)

    def _cosines(self, vectors: Float16Array) -> Float64Array:
        exact = vectors.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        cosines: Float64Array = np.einsum("ij,j->i", exact, self._query) / np.maximum(norms, _SHORTEST)
        return cosines
