"""The stored vectors of representatives."""

from pathlib import Path

import numpy as np

from data_miner_dagster.storage.representatives import (
    StoredRepresentatives,
    read_representatives,
    write_representatives,
)


def test_read_representatives__nothing_there(tmp_path: Path) -> None:
    assert read_representatives(tmp_path / "representatives.npz", fingerprint="a") is None


def test_write_representatives__empty_and_back(tmp_path: Path) -> None:
    path = tmp_path / "representatives.npz"
    write_representatives(path, StoredRepresentatives(np.zeros(0, np.str_), np.zeros((0, 4), np.float16), "a"))
    back = read_representatives(path, fingerprint="a")
    assert back is not None
    assert (back.frame_ids.tolist(), back.vectors.shape) == ([], (0, 4))


def test_write_representatives__same_content_same_bytes_and_only_for_its_table(tmp_path: Path) -> None:
    stored = StoredRepresentatives(np.array(["a/0", "long-key/000001"]), np.eye(2, 3, dtype=np.float16), "a")
    for name in ("one.npz", "two.npz"):
        write_representatives(tmp_path / name, stored)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_representatives(tmp_path / "one.npz", fingerprint="a")
    assert back is not None
    assert back.frame_ids.tolist() == ["a/0", "long-key/000001"]
    assert back.vectors.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert read_representatives(tmp_path / "one.npz", fingerprint="b") is None
