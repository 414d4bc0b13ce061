import threading

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.stages.nearest import Nearest


def _vectors(num: int, *, seed: int = 0, dimension: int = 32) -> npt.NDArray[np.float16]:
    vectors = np.random.default_rng(seed).standard_normal((num, dimension))
    units: npt.NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units.astype(np.float16)


def _found(vectors: np.ndarray, query: np.ndarray, count: int, portions: list[np.ndarray]) -> list[tuple[str, int]]:
    nearest = Nearest(query, count)
    for portion in portions:
        for group in np.unique(portion // 100):
            rows = portion[portion // 100 == group]
            nearest.offer(f"v{group:03d}", (rows % 100).astype(np.int32), vectors[rows])
    return [(match.group, match.number) for match in nearest.matches]


def test_nearest__is_brute_force_in_any_order_and_portions() -> None:
    vectors, query = _vectors(2000), _vectors(1, seed=1)[0].astype(np.float32)
    exact = vectors.astype(np.float64)
    cosines = exact @ query.astype(np.float64) / np.linalg.norm(exact, axis=1)
    expected = [(f"v{row // 100:03d}", row % 100) for row in np.argsort(-cosines)[:25].tolist()]
    rng = np.random.default_rng(2)
    for size in (1, 7, 100, 2000):
        order = rng.permutation(2000)
        portions = [order[start : start + size] for start in range(0, 2000, size)]
        assert _found(vectors, query, 25, portions) == expected


def test_nearest__equal_vectors_come_in_order_of_group_and_number() -> None:
    vectors = np.repeat(_vectors(1), 300, axis=0)
    order = np.random.default_rng(3).permutation(300)
    found = _found(vectors, vectors[0].astype(np.float32), 120, [order[:150], order[150:]])
    assert found == [("v000", number) for number in range(100)] + [("v001", number) for number in range(20)]


def test_nearest__fewer_than_wanted_and_vectors_of_any_length() -> None:
    nearest = Nearest(np.array([3, 0], np.float32), 10)
    vectors = np.array([[0.5, 0], [0, 1], [-1, 0], [0, 0]], np.float16)
    nearest.offer("v", np.array([4, 5, 6, 7], np.int32), vectors)
    assert [(match.number, match.cosine) for match in nearest.matches] == [(4, 1.0), (5, 0.0), (7, 0.0), (6, -1.0)]


def test_nearest__threads_find_what_one_finds() -> None:
    vectors, query = _vectors(5000, dimension=8), _vectors(1, seed=4, dimension=8)[0].astype(np.float32)
    alone = Nearest(query, 50)
    together = Nearest(query, 50)
    for start in range(0, 5000, 100):
        alone.offer(f"v{start:04d}", np.arange(100, dtype=np.int32), vectors[start : start + 100])

    def offer(first: int) -> None:
        for start in range(first, 5000, 400):
            together.offer(f"v{start:04d}", np.arange(100, dtype=np.int32), vectors[start : start + 100])

    threads = [threading.Thread(target=offer, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together.matches == alone.matches
    assert alone.matches[0].cosine >= alone.matches[49].cosine > 0


def test_nearest__cosine_is_that_of_the_stored_numbers() -> None:
    nearest = Nearest(np.array([1, 1], np.float32), 1)
    nearest.offer("v", np.array([0], np.int32), np.array([[1, 0]], np.float16))
    assert nearest.matches[0].cosine == pytest.approx(0.5**0.5, abs=1e-12)
