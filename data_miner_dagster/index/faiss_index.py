"""Implement `protocols/indexes.py` with FAISS.

There is an exact vector index, a clustered one for cases where exact search is too slow, and an exact hash index.
"""

import math

import faiss
import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.precision import single_precision_error
from data_miner_dagster.domain.records import Float32Array

Neighbours = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Float32Array]

_TRAINING_SEED = 20260101
_PAIRS_AT_ONCE = 4096
_HALF_PRECISION_ERROR = 2.0**-11
"""The maximum error of a product with a unit vector in float16: the relative rounding error of its components."""
_TRAINING_POINTS_PER_CLUSTER = 39
"""The number of training vectors per cluster below which FAISS warns.

Source: faiss/Clustering.h, `min_points_per_centroid`.
"""

_HASH_BITS = 64
_MOST_BANDED_BITS = 7
"""The largest distance that is searched by bands. Beyond it, bands are so short that comparing every pair is faster."""
_LONGEST_BAND = 32


class FaissIndex:
    """An exact index: it stores all vectors as float32 and compares each with every query."""

    def __init__(self, dimension: int) -> None:
        self._index = faiss.IndexFlatIP(dimension)

    @property
    def similarity_error(self) -> float:
        """The maximum rounding error of a similarity, due to float32 arithmetic."""
        return single_precision_error(self._index.d)

    def add(self, vectors: Float32Array) -> None:
        """Add (N, D) unit vectors. Their ids continue from the previous ones."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def within(self, queries: Float32Array, minimum_similarity: float) -> Neighbours:
        """Return all vectors with a similarity of at least `minimum_similarity`, as `VectorIndex.within` specifies."""
        return _range_search(self._index, queries, minimum_similarity)

    def __len__(self) -> int:
        return int(self._index.ntotal)


class ClusteredFaissIndex:
    """An index of float16 vectors in k-means clusters, where each query visits the `num_probes` nearest clusters.

    A pair is missed if its stored vector is in a cluster that the query does not visit. Callers measure how often this
    happens. Training is seeded, so the same training vectors yield the same clusters.
    """

    def __init__(self, training_vectors: Float32Array, *, num_clusters: int, num_probes: int) -> None:
        dimension = training_vectors.shape[1]
        quantizer = faiss.IndexFlatIP(dimension)
        self._index = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, num_clusters, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
        )
        self._index.cp.seed = _TRAINING_SEED
        self._index.cp.niter = 8
        self._index.cp.spherical = True
        self._index.train(np.ascontiguousarray(training_vectors, np.float32))
        self._index.nprobe = num_probes

    @property
    def similarity_error(self) -> float:
        """The maximum rounding error of a similarity, due to float32 arithmetic and to vectors stored in float16."""
        return single_precision_error(self._index.d) + _HALF_PRECISION_ERROR

    @property
    def num_probes(self) -> int:
        """The number of clusters that each query visits."""
        return int(self._index.nprobe)

    @num_probes.setter
    def num_probes(self, num_probes: int) -> None:
        self._index.nprobe = num_probes

    def probes_needed(self, queries: Float32Array, others: Float32Array) -> npt.NDArray[np.int64]:
        """Return a (P,) array with the number of clusters (at least 1) that each query must visit to find its partner.

        Args:
            queries: (P, D) unit vectors.
            others: (P, D) unit vectors; row i is the partner of query i.
        """
        centroids = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        needed = np.empty(len(queries), np.int64)
        for start in range(0, len(queries), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            _, home = self._index.quantizer.search(np.ascontiguousarray(others[part]), 1)
            nearness = queries[part] @ centroids.T
            needed[part] = np.sum(nearness >= np.take_along_axis(nearness, home, axis=1), axis=1)
        return needed

    def add(self, vectors: Float32Array) -> None:
        """Add (N, D) unit vectors. Their ids continue from the previous ones."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def within(self, queries: Float32Array, minimum_similarity: float) -> Neighbours:
        """Return the pairs in visited clusters with a similarity of at least `minimum_similarity`.

        The result has the form that `VectorIndex.within` specifies.
        """
        return _range_search(self._index, queries, minimum_similarity)

    def __len__(self) -> int:
        return int(self._index.ntotal)


class FaissHashIndex:
    """An index of 64-bit hashes that finds exactly the pairs within `max_distance` bits.

    Hashes that differ in at most d bits agree on at least one of d + 1 bands. Up to a `max_distance` of 7, only hashes
    that share a band are therefore compared; beyond it, all are.

    Source: Norouzi et al., Fast Search in Hamming Space with Multi-Index Hashing (CVPR 2012), section 3.
    """

    def __init__(self, max_distance: int) -> None:
        self._max_distance = max_distance
        self._index: faiss.IndexBinary
        if max_distance <= _MOST_BANDED_BITS:
            num_bands = max_distance + 1
            self._index = faiss.IndexBinaryMultiHash(_HASH_BITS, num_bands, min(_HASH_BITS // num_bands, _LONGEST_BAND))
        else:
            self._index = faiss.IndexBinaryFlat(_HASH_BITS)

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add (N,) hashes. Their ids continue from the previous ones."""
        if len(hashes):
            self._index.add(_as_bytes(hashes))

    def within(self, queries: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return all hashes within `max_distance` bits of each query, as `HashIndex.within` specifies."""
        if not len(queries) or not self._index.ntotal:
            return np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int64)
        # FAISS returns distances strictly below its radius.
        limits, _, ids = self._index.range_search(_as_bytes(queries), self._max_distance + 1)
        return limits.astype(np.int64), ids.astype(np.int64)

    def __len__(self) -> int:
        return int(self._index.ntotal)


def _as_bytes(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(hashes, np.uint64).view(np.uint8).reshape(-1, _HASH_BITS // 8)


def num_clusters_for(num_vectors: int) -> int:
    """Return the number of clusters to use for `num_vectors` vectors.

    It is the power of two nearest to 4 * sqrt(num_vectors), or the largest power of two that leaves at least 39 vectors
    per cluster, whichever is smaller. With fewer than 78 vectors, it is 1.

    Source: faiss wiki, "Guidelines to choose an index": 4 to 16 times the square root.
    """
    if num_vectors < 2 * _TRAINING_POINTS_PER_CLUSTER:
        return 1
    wanted = round(math.log2(4 * math.sqrt(num_vectors)))
    trainable = math.floor(math.log2(num_vectors / _TRAINING_POINTS_PER_CLUSTER))
    return int(2 ** min(wanted, trainable))


def _range_search(index: "faiss.Index", queries: Float32Array, minimum_similarity: float) -> Neighbours:
    if not len(queries) or not index.ntotal:
        return np.zeros(len(queries) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    # FAISS returns similarities strictly above its radius.
    radius = float(np.nextafter(np.float32(minimum_similarity), np.float32(-np.inf)))
    limits, similarities, ids = index.range_search(np.ascontiguousarray(queries, np.float32), radius)
    return limits.astype(np.int64), ids.astype(np.int64), similarities
