"""Test the stored vectors of frames and representatives."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.storage.vectors import (
    StoredEmbeddings,
    StoredRepresentatives,
    read_embeddings,
    read_representatives,
    read_vectors_fingerprint,
    write_embeddings,
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


def test_write_embeddings__empty_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert read_embeddings(path) is None
    write_embeddings(path, StoredEmbeddings(np.zeros(0, np.int32), np.zeros((0, 4), np.float16), "a"))
    back = read_embeddings(path)
    assert back is not None
    assert (back.frame_indices.tolist(), back.vectors.shape, back.fingerprint) == ([], (0, 4), "a")


def test_write_embeddings__same_content_same_bytes_and_types(tmp_path: Path) -> None:
    stored = StoredEmbeddings(np.array([0, 7], np.int64), np.eye(2, 3, dtype=np.float32), "a")
    for name in ("one.npz", "two.npz"):
        write_embeddings(tmp_path / name, stored)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = read_embeddings(tmp_path / "one.npz")
    assert back is not None
    assert (back.frame_indices.dtype.name, back.vectors.dtype.name) == ("int32", "float16")
    assert (back.frame_indices.tolist(), back.vectors.tolist()) == ([0, 7], [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize("vectors", [np.ones((3, 2), np.float16), np.ones(2, np.float16)])
def test_read__as_many_vectors_as_frames(tmp_path: Path, vectors: npt.NDArray[np.float16]) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, frame_indices=np.arange(2), frame_ids=np.array(["a", "b"]), vectors=vectors, fingerprint="f")
    with pytest.raises(DamagedFileError, match=r"ids of shape \(2,\) do not match vectors of shape \("):
        read_embeddings(path)
    assert read_representatives(path, fingerprint="f") is None


@pytest.mark.parametrize("fingerprint", ["", "f", "0123456789abcdef" * 4, "partial:" + "a" * 40, "ä\n€", "f" * 2000])
def test_read_vectors_fingerprint__parses_numpys_header_by_hand_as_numpy_does(tmp_path: Path, fingerprint: str) -> None:
    path = tmp_path / "a.npz"
    assert read_vectors_fingerprint(path) is None
    write_embeddings(path, StoredEmbeddings(np.zeros(1, np.int32), np.zeros((1, 4), np.float16), fingerprint))
    with np.load(path) as archive:
        assert str(archive["fingerprint"]) == fingerprint
    assert read_vectors_fingerprint(path) == fingerprint
