"""What deduplication asks of an index of vectors, and of one of perceptual hashes."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array


class VectorIndex(Protocol):
    """Unit vectors, found again by cosine. Ids are the order of adding, from 0.

    `similarity_error` bounds by how much a similarity it reports may differ from the exact cosine.
    """

    @property
    def similarity_error(self) -> float:
        """At most this far from the exact cosine, in either direction."""
        ...

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


class HashIndex(Protocol):
    """64-bit hashes, found again by the number of differing bits. Ids are the order of adding, from 0.

    Made for one distance; every pair within it is found.
    """

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add (N,) hashes."""
        ...

    def within(self, queries: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (offsets (Q+1,), ids): the neighbours of query q are the half-open slice offsets[q]:offsets[q+1]."""
        ...

    def __len__(self) -> int: ...
