"""The verification fails if a guarantee is broken."""

import numpy as np
import pytest

from data_miner_dagster.stages.deduplication import guarantees
from data_miner_dagster.stages.deduplication.appearances import Appearances
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees

AXES = np.eye(4, dtype=np.float16)
NONE = np.zeros((0, 4), np.float16)


def ids(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return ids."""
    return np.asarray(values, np.int64)


def test_verify_guarantees__empty() -> None:
    report = verify_guarantees(NONE, NONE, ids(), 0.9)
    assert report.holds
    assert report.recall == 1.0


def test_verify_guarantees__two_representatives_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarantees, "_BLOCK_ROWS", 1)
    vectors = AXES[[0, 1, 0, 0]]
    report = verify_guarantees(NONE, vectors, ids(0, 1, 2, 0), 0.9)
    assert not report.holds
    assert (report.num_too_close, report.num_unsupported) == (1, 0)
    assert report.too_close_pairs == ((2, 0),)
    assert report.recall == 0.5  # one of the two frames to remove was removed


def test_verify_guarantees__representative_too_far() -> None:
    report = verify_guarantees(NONE, AXES[[0, 1]], ids(0, 0), 0.9)
    assert (report.num_too_close, report.num_unsupported) == (0, 1)
    assert report.unsupported_pairs == ((1, 0),)


def test_verify_guarantees__named_frame_is_no_representative() -> None:
    report = verify_guarantees(NONE, AXES[[0, 0, 0]], ids(0, 0, 1), 0.9)
    assert report.unsupported_pairs == ((2, 1),)


def test_verify_guarantees__named_frame_comes_later() -> None:
    report = verify_guarantees(NONE, AXES[[0, 0]], ids(1, 1), 0.9)
    assert report.unsupported_pairs == ((0, 1),)


def test_verify_guarantees__against_leaders_known_before() -> None:
    assert verify_guarantees(AXES[[0, 0]], AXES[[1, 0]], ids(2, 0), 0.9).holds
    report = verify_guarantees(AXES[[0, 0]], AXES[[1, 0]], ids(2, 3), 0.9)
    assert report.num_too_close == 1
    assert report.too_close_pairs == ((3, 0), (3, 1))


def test_verify_guarantees__sample_finds_its_part() -> None:
    vectors = np.repeat(AXES[:1], 10, axis=0)
    report = verify_guarantees(NONE, vectors, np.arange(10, dtype=np.int64), 0.9, sample_size=4)
    assert (report.num_representatives_checked, report.num_too_close) == (4, 3)  # the first has no predecessor


def looks(files: list[int], hashes: list[int]) -> Appearances:
    """Return the appearances of frames. Hashes at most one bit apart are near."""
    return Appearances(np.asarray(files), np.asarray(hashes, np.uint64), np.ones(len(files), np.bool_), 1)


def test_verify_guarantees__removed_by_its_hash() -> None:
    assert verify_guarantees(NONE, AXES[:2], ids(0, 0), 0.9, appearances=looks([1, 2], [6, 7])).holds
    assert not verify_guarantees(NONE, AXES[:2], ids(0, 0), 0.9, appearances=looks([1, 2], [6, 5])).holds


def test_verify_guarantees__removed_by_its_file() -> None:
    assert verify_guarantees(NONE, AXES[:2], ids(0, 0), 0.9, appearances=looks([1, 1], [0, 63])).holds


def test_verify_guarantees__two_representatives_with_near_hashes_or_equal_files() -> None:
    report = verify_guarantees(AXES[:1], AXES[1:4], ids(1, 2, 3), 0.9, appearances=looks([1, 2, 1, 3], [0, 63, 7, 62]))
    assert report.too_close_pairs == ((2, 0), (3, 1))
