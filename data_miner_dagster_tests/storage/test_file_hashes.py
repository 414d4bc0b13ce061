"""Test that originals are read once to compute their hashes, and again after they have changed."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from data_miner_dagster.storage.file_hashes import FileHashes


def write(path: Path, content: bytes, *, age_seconds: float = 60) -> None:
    path.write_bytes(content)
    when = time.time() - age_seconds
    os.utime(path, (when, when))


def test_file_hashes__nothing_asked_writes_nothing(tmp_path: Path) -> None:
    FileHashes(tmp_path / "hashes.json").save()
    assert list(tmp_path.iterdir()) == []


def test_sha256_of__read_once_and_again_after_a_change(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.mp4", tmp_path / "hashes.json"
    write(path, b"one")
    hashes = FileHashes(kept)
    assert hashes.sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    hashes.save()
    status = path.stat()
    path.write_bytes(b"two")  # no program does this: new content of the same size, with the old time
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert FileHashes(kept).sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    write(path, b"two", age_seconds=50)
    assert FileHashes(kept).sha256_of(path) == hashlib.sha256(b"two").hexdigest()


def test_sha256_of__what_changed_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.mp4", tmp_path / "hashes.json"
    write(path, b"one", age_seconds=0)
    hashes = FileHashes(kept)
    hashes.sha256_of(path)
    hashes.save()
    assert not kept.exists()


def test_save__forgets_what_was_not_asked_for(tmp_path: Path) -> None:
    kept = tmp_path / "hashes.json"
    for name in ("a", "b"):
        write(tmp_path / name, name.encode())
    hashes = FileHashes(kept)
    for name in ("a", "b"):
        hashes.sha256_of(tmp_path / name)
    hashes.save()
    hashes = FileHashes(kept)
    hashes.sha256_of(tmp_path / "b")
    hashes.save()
    assert str(tmp_path / "b") in kept.read_text()
    assert str(tmp_path / "a") not in kept.read_text()


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1, "files": {"x": [1]}}', '{"version": 0, "files": {}}'])
def test_file_hashes__a_damaged_file_is_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "hashes.json").write_text(content)
    write(tmp_path / "a", b"a")
    assert FileHashes(tmp_path / "hashes.json").sha256_of(tmp_path / "a") == hashlib.sha256(b"a").hexdigest()


def test_drop__a_forgotten_file_is_not_named(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, name.encode())
    hashes = FileHashes(tmp_path / "hashes.json")
    sha256 = [hashes.sha256_of(tmp_path / name) for name in ("a.mp4", "b.mp4")]
    hashes.drop([])
    hashes.drop([sha256[0][:32]])
    hashes.save()
    kept = (tmp_path / "hashes.json").read_text()
    assert "b.mp4" in kept
    assert "a.mp4" not in kept
