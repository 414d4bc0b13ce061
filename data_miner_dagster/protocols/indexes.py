"""The index interfaces of deduplication, for vectors and for perceptual hashes."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array


class VectorIndex(Protocol):
    """An index of unit vectors, searched by cosine. Ids count up from 0 in the order of adding.

    `similarity_error` bounds the difference between a reported similarity and the exact cosine.
    """

    @property
    def similarity_error(self) -> float:
        """The maximum absolute difference between a reported similarity and the exact cosine."""
        ...

    def add(self, vectors: Float32Array) -> None:
        """Add (N, D) unit vectors."""
        ...

    def within(
        self, queries: Float32Array, minimum_similarity: float
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float32Array]:
        """Return the indexed vectors whose similarity to a query is at least `minimum_similarity`.

        An exact index returns all of them. A clustered one may miss some.

        Returns:
            (offsets (Q+1,), ids, similarities): the half-open slice offsets[q]:offsets[q+1] of the other two arrays
            holds the neighbours of query q. Their number is not limited.
        """
        ...

    def __len__(self) -> int: ...


class HashIndex(Protocol):
    """An index of 64-bit hashes, searched by Hamming distance. Ids count up from 0 in the order of adding.

    Each index has a fixed maximum distance, and finds every hash within that distance of a query.
    """

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add (N,) hashes."""
        ...

    def within(self, queries: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return (offsets (Q+1,), ids), where ids[offsets[q]:offsets[q+1]] are the neighbours of query q."""
        ...

    def __len__(self) -> int: ...
