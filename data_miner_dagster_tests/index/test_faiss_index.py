"""Tests of the contracts of `VectorIndex`, with both implementations, and of `HashIndex`."""

from collections.abc import Callable

import numpy as np
import pytest

from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.index.faiss_index import ClusteredFaissIndex, FaissHashIndex, FaissIndex, num_clusters_for
from data_miner_dagster.protocols.indexes import VectorIndex

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((400, 8)).astype(np.float32)
POINTS /= np.linalg.norm(POINTS, axis=1, keepdims=True)


def clustered(dimension: int) -> ClusteredFaissIndex:
    """Return an index that searches all clusters, so that it misses nothing."""
    return ClusteredFaissIndex(POINTS[:, :dimension], num_clusters=4, num_probes=4)


FACTORIES = pytest.mark.parametrize("make", [FaissIndex, clustered])


def pairs(index: VectorIndex, queries: Float32Array, minimum: float) -> set[tuple[int, int]]:
    """Return the (query, id) pairs that the index finds."""
    offsets, ids, _ = index.within(queries, minimum)
    return {(q, int(i)) for q in range(len(queries)) for i in ids[offsets[q] : offsets[q + 1]]}


@FACTORIES
def test_within__empty(make: Callable[[int], VectorIndex]) -> None:
    index = make(8)
    assert len(index) == 0
    offsets, ids, similarities = index.within(POINTS[:3], 0.5)
    assert (offsets.tolist(), ids.tolist(), similarities.tolist()) == ([0, 0, 0, 0], [], [])
    index.add(POINTS[:5])
    assert index.within(POINTS[:0], 0.5)[0].tolist() == [0]


@FACTORIES
def test_within__every_pair_and_no_other(make: Callable[[int], VectorIndex]) -> None:
    index = make(8)
    index.add(POINTS[:100])
    index.add(POINTS[100:])
    assert len(index) == 400
    products = POINTS.astype(np.float64) @ POINTS.astype(np.float64).T
    found = pairs(index, POINTS, 0.5)
    error = index.similarity_error
    assert {(q, i) for q, i in np.argwhere(products >= 0.5 + error).tolist()} <= found
    assert found <= {(q, i) for q, i in np.argwhere(products >= 0.5 - error).tolist()}
    assert len(found) > 1000  # far more than a typical limit on neighbours would allow


@FACTORIES
def test_within__similarities_are_as_near_as_promised(make: Callable[[int], VectorIndex]) -> None:
    index = make(8)
    index.add(POINTS)
    offsets, ids, similarities = index.within(POINTS[:50], 0.3)
    queries = np.repeat(np.arange(50), np.diff(offsets))
    exact = np.einsum("ij,ij->i", POINTS[queries].astype(np.float64), POINTS[ids].astype(np.float64))
    assert np.abs(exact - similarities).max() <= index.similarity_error


def test_num_clusters_for__power_of_two_that_can_be_trained() -> None:
    assert [num_clusters_for(n) for n in (0, 1, 78, 1000, 1_000_000)] == [1, 1, 2, 16, 4096]


@pytest.mark.parametrize("distance", [0, 1, 2, 4, 6, 7, 8, 20])
def test_hash_index__finds_every_pair_within_the_distance_and_no_other(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 300, dtype=np.uint64)
    # Each hash gets a neighbour at every distance up to 10, with bits flipped at random places, including the last bit.
    places = np.stack([rng.permutation(64)[:10] for _ in hashes]).astype(np.uint64)
    masks = np.bitwise_or.accumulate(np.uint64(1) << places, axis=1)
    queries = np.concatenate([hashes, (hashes[:, None] ^ masks).ravel()])
    index = FaissHashIndex(distance)
    index.add(hashes[:100])
    index.add(hashes[100:100])
    index.add(hashes[100:])
    assert len(index) == 300
    offsets, ids = index.within(queries)
    found = set(zip(np.repeat(np.arange(len(queries)), np.diff(offsets)).tolist(), ids.tolist(), strict=True))
    distances = np.bitwise_count(queries[:, None] ^ hashes[None, :])
    assert found == set(zip(*(axis.tolist() for axis in np.nonzero(distances <= distance)), strict=True))
    assert len(ids) == len(found)


def test_hash_index__empty() -> None:
    index = FaissHashIndex(4)
    offsets, ids = index.within(np.zeros(2, np.uint64))
    assert (offsets.tolist(), ids.tolist()) == ([0, 0, 0], [])
    index.add(np.zeros(3, np.uint64))
    offsets, ids = index.within(np.zeros(0, np.uint64))
    assert (offsets.tolist(), ids.tolist()) == ([0], [])
