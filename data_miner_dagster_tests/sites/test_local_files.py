"""Local files: what an entry stands for, and what it is keyed by."""

import hashlib
import os
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import SourceError, VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.local_files import fetch_local_file, key_of_file, list_local_videos


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.txt", ".hidden.mp4", "sub/c.webm", "sub/deep/d.mov", ".git/e.mp4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path


def names(paths: list[Path], base: Path) -> list[str]:
    return [path.relative_to(base.resolve()).as_posix() for path in paths]


def test_list_local_videos__empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video found"):
        list_local_videos(".", tmp_path)


def test_list_local_videos__missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        list_local_videos("nothing.mp4", tmp_path)


def test_list_local_videos__folder_is_searched_below(tree: Path) -> None:
    assert names(list_local_videos(".", tree), tree) == ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mov"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("*", ["a.MKV", "b.mp4", "sub/c.webm", "sub/deep/d.mov"]),
        ("*.mp4", ["b.mp4"]),
        ("**/*.webm", ["sub/c.webm"]),
        ("sub/**", ["sub/c.webm", "sub/deep/d.mov"]),
        ("*.txt", ["notes.txt"]),  # the glob names the extension
        ("notes.txt", ["notes.txt"]),  # named itself: taken, and found out at the download
        ("su?", ["sub/c.webm", "sub/deep/d.mov"]),
    ],
)
def test_list_local_videos__globs(tree: Path, entry: str, expected: list[str]) -> None:
    assert names(list_local_videos(entry, tree), tree) == expected


def test_list_local_videos__file_name_with_magic_characters(tmp_path: Path) -> None:
    (tmp_path / "clip [1].mp4").write_bytes(b"x")
    assert [path.name for path in list_local_videos("clip [1].mp4", tmp_path)] == ["clip [1].mp4"]


def test_key_of_file__by_content(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert key_of_file(path) == (f"file-{digest[:32]}", digest)


def test_key_of_file__unreadable_has_a_key_by_path(tmp_path: Path) -> None:
    key, sha256 = key_of_file(tmp_path)  # a folder cannot be read, not even by root
    assert key.startswith("file-path-")
    assert sha256 is None


@pytest.mark.parametrize("how", ["copy", "hardlink"])
def test_fetch_local_file__brings_the_bytes(tmp_path: Path, how: str) -> None:
    source, folder = tmp_path / "My Clip.MP4", tmp_path / "in"
    source.write_bytes(os.urandom(100_000))
    folder.mkdir()
    target = fetch_local_file(source, folder, how=how)
    assert target == folder / "video.mp4"
    assert target.read_bytes() == source.read_bytes()
    assert (target.stat().st_ino == source.stat().st_ino) is (how == "hardlink")


def test_fetch_local_file__empty_and_missing(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoPermanentError) as empty:
        fetch_local_file(tmp_path / "empty.mp4", tmp_path / "in", how="copy")
    assert empty.value.kind is VideoErrorKind.EMPTY_FILE
    with pytest.raises(VideoPermanentError) as missing:
        fetch_local_file(tmp_path / "gone.mp4", tmp_path / "in", how="copy")
    assert missing.value.kind is VideoErrorKind.MISSING_FILE
