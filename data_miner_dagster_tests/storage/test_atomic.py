"""What is on disk before a name says that it is there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data_miner_dagster.storage.atomic import atomic_folder, atomic_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Flushes and renames of files and folders by name, in order, without the mark of what is unfinished."""
    noted: list[tuple[str, str]] = []
    fsync: Callable[[int], None] = os.fsync
    rename = Path.rename

    def noted_fsync(descriptor: int) -> None:
        noted.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name.rpartition("-")[2]))
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        noted.append(("rename", target.name))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    return noted


@pytest.mark.parametrize("num_files", [1, 30])
def test_atomic_folder__everything_is_flushed_before_the_rename_and_the_rename_after(
    tmp_path: Path, calls: list[tuple[str, str]], num_files: int
) -> None:
    names = [f"{number}.jpg" for number in range(num_files)]
    linked = tmp_path / "linked.jpg"
    linked.write_bytes(b"a frame")
    with atomic_folder(tmp_path / "room" / "frames") as folder:
        (folder / "train").mkdir()
        for name in names:
            (folder / "train" / name).write_bytes(b"x")
        os.link(linked, folder / "train" / "linked.jpg")
        assert calls == []
    place = calls.index(("rename", "frames"))
    assert sorted(calls[:place]) == sorted([("flush", name) for name in [*names, "train", "frames"]])
    assert calls[place - 1] == ("flush", "frames")
    assert calls[place + 1 :] == [("flush", "room")]


def test_atomic_folder__a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "frames") as folder:
        (folder / "a").write_bytes(b"old")

    def write_again() -> None:
        with atomic_folder(tmp_path / "frames") as folder:
            (folder / "a").write_bytes(b"new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_again()
    assert (tmp_path / "frames" / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_atomic_path__is_flushed_first(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    with atomic_path(tmp_path / "table") as partial:
        partial.write_bytes(b"x")
    assert calls == [("flush", "table")]
