"""Which hashes are informative, and which representatives look alike."""

import numpy as np

from data_miner_dagster.index.faiss_index import FaissHashIndex
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances, telling_hashes


def appearances(files: list[int], hashes: list[int], telling: list[bool]) -> Appearances:
    """Return the appearances of frames. Hashes at most 4 bits apart are near."""
    return Appearances(np.asarray(files), np.asarray(hashes, np.uint64), np.asarray(telling, np.bool_), 4)


def test_telling_hashes__contrast_and_structure() -> None:
    half, one, none = 0xAAAAAAAAAAAAAAAA, 1, 0
    hashes = np.asarray([half, half, one, none], np.uint64)
    is_telling = telling_hashes(hashes, np.asarray([20.0, 19.9, 80.0, 80.0]), 20.0)
    assert is_telling.tolist() == [True, False, False, False]


def test_telling_hashes__empty() -> None:
    assert telling_hashes(np.zeros(0, np.uint64), np.zeros(0), 20.0).tolist() == []


def test_pairs_of__none_added() -> None:
    alike = AlikeRepresentatives(appearances([1], [0], [True]), FaissHashIndex(4))
    rows, ids = alike.pairs_of(np.array([0]))
    assert (rows.tolist(), ids.tolist()) == ([], [])


def test_pairs_of__by_hash_and_by_file() -> None:
    looks = appearances(
        [1, 2, 3, 1, 9, 3], [0, 0b1111, 0b11111, 2**60 - 1, 0b111, 0], [True, True, True, False, True, False]
    )
    alike = AlikeRepresentatives(looks, FaissHashIndex(4))
    alike.add(np.array([0, 1]))
    alike.add(np.array([2]))
    rows, ids = alike.pairs_of(np.array([3, 4, 5]))
    # Frame 3 has the same file as 0, and 4 is near 0, 1 and 2. 5 has the same file as 2, and an uninformative hash.
    assert sorted(zip(rows.tolist(), ids.tolist(), strict=True)) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 2)]
