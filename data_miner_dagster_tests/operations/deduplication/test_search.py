"""Test the clustered search on planted duplicates, and when it is chosen."""

import numpy as np
import pytest

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.operations.deduplication.search import SearchKind, choose_search, is_exact_affordable
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees
from data_miner_dagster.stages.deduplication.leaders import find_representatives
from data_miner_dagster.stages.vectors import Float16Array

NONE = np.zeros((0, 64), np.float16)
CLUSTERED = DeduplicationConfig(exact_up_to_frames=100)


def planted(num: int, seed: int = 0) -> Float16Array:
    """Return `num` random directions in 64 dimensions, then a near-duplicate (cosine about .95) of each, shuffled."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((num, 64))
    both = np.concatenate([base, base + 0.33 * rng.standard_normal((num, 64))])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    return both[rng.permutation(len(both))].astype(np.float16)


def test_is_exact_affordable__new_times_kept() -> None:
    assert is_exact_affordable(0, 0, 1)
    assert is_exact_affordable(0, 100, 100)
    assert not is_exact_affordable(0, 101, 100)
    assert is_exact_affordable(10_000, 1, 1000)
    assert not is_exact_affordable(10_000, 100, 1000)


def test_choose_search__small_is_exact() -> None:
    search = choose_search(NONE, planted(50), 0.85, DeduplicationConfig())
    assert search.kind is SearchKind.EXACT
    assert choose_search(NONE, NONE, 0.85, DeduplicationConfig()).kind is SearchKind.EXACT


@pytest.mark.parametrize("num_leaders", [0, 2000])
def test_choose_search__clustered_finds_planted_duplicates(num_leaders: int) -> None:
    vectors = planted(4000)
    leaders, newcomers = vectors[:num_leaders], vectors[num_leaders:]
    exact = find_representatives(
        leaders, newcomers, 0.85, choose_search(leaders, newcomers, 0.85, DeduplicationConfig()).index
    )
    search = choose_search(leaders, newcomers, 0.85, CLUSTERED)
    assert search.kind is SearchKind.CLUSTERED
    assert 1 < search.num_probes < search.num_clusters
    found = find_representatives(leaders, newcomers, 0.85, search.index, block_rows=64)

    num_to_remove = int(np.sum(~exact.is_representative))
    assert num_to_remove > 2000
    assert int(np.sum(~found.is_representative)) >= 0.99 * num_to_remove
    report = verify_guarantees(leaders, newcomers, found.representative_ids, 0.85)
    assert report.num_unsupported == 0
    assert report.recall >= 0.99
    sampled = verify_guarantees(leaders, newcomers, found.representative_ids, 0.85, sample_size=500)
    assert sampled.recall == pytest.approx(report.recall, abs=0.01)


def test_choose_search__same_vectors_same_result() -> None:
    vectors = planted(1000)
    results = [
        find_representatives(NONE, vectors, 0.85, choose_search(NONE, vectors, 0.85, CLUSTERED).index, block_rows=64)
        for _ in range(2)
    ]
    assert results[0].representative_ids.tolist() == results[1].representative_ids.tolist()


def test_choose_search__no_duplicates_to_tune_with() -> None:
    search = choose_search(NONE, planted(1000), 0.999, CLUSTERED)
    assert search.num_probes == max(search.num_clusters // 16, 1)
