"""What deduplication asks of a vector index."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array


class VectorIndex(Protocol):
    """Unit vectors, found again by cosine. Ids are the order of adding, from 0."""

    def add(self, vectors: Float32Array) -> None:
        """Add (N, D) unit vectors."""
        ...

    def within(
        self, queries: Float32Array, minimum_similarity: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float32Array]:
        """Return every pair at or above `minimum_similarity`, without a cap on neighbours.

        Returns:
            (offsets (Q+1,), ids, similarities): the neighbours of query q are the half-open slice
            offsets[q]:offsets[q+1].
        """
        ...

    def __len__(self) -> int: ...


VectorIndexFactory = Callable[[int], VectorIndex]
"""Dimension to empty index."""
