"""Test that files and folders appear whole or not at all, and are on disk before they get their final names."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ClaimLostError
from data_miner_dagster.storage.atomic import (
    PARTIAL_MARK,
    FolderInUseError,
    atomic_folder,
    atomic_path,
    flush,
    is_partial_of,
    only_atomic_folder,
    publishing_as,
    sweep_partials,
    write_json,
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Record flushes and renames of files and folders, in order, by name without the prefix of unfinished ones."""
    noted: list[tuple[str, str]] = []
    fsync: Callable[[int], None] = os.fsync
    rename, replace = Path.rename, Path.replace

    def noted_fsync(descriptor: int) -> None:
        noted.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name.rpartition("-")[2]))
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        noted.append(("rename", target.name))
        return rename(self, target)

    def noted_replace(self: Path, target: Path) -> Path:
        noted.append(("replace", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(Path, "replace", noted_replace)
    return noted


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
        assert calls == []
    assert calls == [("flush", "table"), ("replace", "table")]


def test_atomic_path__writes_a_sibling_of_the_same_suffix_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.parquet"
    with atomic_path(path) as partial:
        assert partial.parent == path.parent
        assert re.fullmatch(r"\.partial-[0-9a-f]{16}-table\.parquet", partial.name)
        partial.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names_in(path.parent) == ["table.parquet"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_atomic_path__an_exception_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")

    def write_again() -> None:
        with atomic_path(path) as partial:
            partial.write_bytes(b"half of the ne")
            raise error

    with pytest.raises(type(error)):
        write_again()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["table"]


def test_atomic_path__a_block_that_writes_nothing_fails_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_bytes() == b"old"


_KILLED_WRITERS = """
import os, signal, sys
from pathlib import Path
from data_miner_dagster.storage.atomic import atomic_folder, atomic_path
room = Path(sys.argv[1])
with atomic_path(room / "table") as file, atomic_folder(room / "frames") as folder:
    file.write_bytes(b"half")
    (folder / "a").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_sweep_partials__takes_what_a_killed_process_left_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"old")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "a").write_bytes(b"old")
    subprocess.run([sys.executable, "-c", _KILLED_WRITERS, str(tmp_path)], check=False)
    assert len(names_in(tmp_path)) == 4
    assert sweep_partials(tmp_path) == 2
    assert names_in(tmp_path) == ["frames", "table"]
    assert (tmp_path / "table").read_bytes() == b"old"
    assert (tmp_path / "frames" / "a").read_bytes() == b"old"
    assert sweep_partials(tmp_path) == 0


def write_with(write: Callable[[Path], AbstractContextManager[Path]], path: Path) -> None:
    with write(path) as partial:
        if not partial.is_dir():
            partial.touch()


def test_publishing_as__names_carry_the_token_and_a_lost_claim_replaces_nothing(tmp_path: Path) -> None:
    path, is_lost = tmp_path / "table", False

    def check() -> None:
        if is_lost:
            raise ClaimLostError("gone")

    path.write_bytes(b"old")
    with publishing_as("0123456789abcdef", check):
        with atomic_path(path) as partial:
            assert is_partial_of(partial.name, ["0123456789abcdef"])
            assert not is_partial_of(partial.name, ["fedcba9876543210"])
            partial.write_bytes(b"new")
        assert path.read_bytes() == b"new"
        is_lost = True
        for write in (atomic_path, atomic_folder):
            with pytest.raises(ClaimLostError):
                write_with(write, path)
    assert path.read_bytes() == b"new"
    with atomic_path(path) as partial:  # no longer under the claim
        assert not is_partial_of(partial.name, ["0123456789abcdef"])
        partial.write_bytes(b"newer")
    assert path.read_bytes() == b"newer"


def test_publishing_as__left_in_any_order(tmp_path: Path) -> None:
    def token_now() -> str:
        with atomic_path(tmp_path / "table") as partial:
            partial.touch()
            return next((token for token in ("a" * 12, "b" * 12) if is_partial_of(partial.name, [token])), "none")

    first, second = ExitStack(), ExitStack()
    first.enter_context(publishing_as("a" * 12, lambda: None))
    second.enter_context(publishing_as("b" * 12, lambda: None))
    assert token_now() == "b" * 12
    first.close()
    assert token_now() == "b" * 12
    second.close()
    assert token_now() == "none"


def test_sweep_partials__no_folder(tmp_path: Path) -> None:
    assert sweep_partials(tmp_path / "nowhere") == 0


def test_sweep_partials__by_name_leaves_those_of_others(tmp_path: Path) -> None:
    others = ["b-a", "a-b", "a.txt"]
    for name in ["a", *others]:
        (tmp_path / f"{PARTIAL_MARK}0123456789ab-{name}").write_bytes(b"half")
    (tmp_path / "a").write_bytes(b"whole")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / f"{PARTIAL_MARK}0123456789ab-a").write_bytes(b"another's")
    assert sweep_partials(tmp_path, "a") == 1
    assert names_in(tmp_path) == sorted(["a", "inner", *(f"{PARTIAL_MARK}0123456789ab-{name}" for name in others)])
    assert len(names_in(tmp_path / "inner")) == 1


def test_atomic_folder__takes_the_place_of_the_old_one_with_all_that_was_in_it(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.mkdir()
    (path / "of the old one alone").write_bytes(b"old")
    (path / "a").write_bytes(b"old")
    with atomic_folder(path) as folder:
        assert folder.parent == tmp_path
        assert list(folder.iterdir()) == []
        (folder / "a").write_bytes(b"new")
        assert (path / "a").read_bytes() == b"old"
    assert names_in(path) == ["a"]
    assert (path / "a").read_bytes() == b"new"
    assert names_in(tmp_path) == ["frames"]


def test_only_atomic_folder__what_a_killed_process_left_is_gone(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from data_miner_dagster.storage.atomic import only_atomic_folder
with only_atomic_folder(Path(sys.argv[1])) as folder:
    (folder / "half").mkdir()
    (folder / "half" / "a").touch()
    (folder / "b").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "out"], check=False)
    assert killed.returncode == -9
    (left,) = names_in(tmp_path)
    assert left.startswith(PARTIAL_MARK)
    assert names_in(tmp_path / left) == ["b", "half"]
    with only_atomic_folder(tmp_path / "out") as folder:
        assert list(folder.iterdir()) == []
        (folder / "whole").touch()
    assert names_in(tmp_path) == ["out"]
    assert names_in(tmp_path / "out") == ["whole"]


def test_only_atomic_folder__two_at_once(tmp_path: Path) -> None:
    with only_atomic_folder(tmp_path / "out") as first:
        (first / "a").touch()
        with (
            pytest.raises(FolderInUseError, match=r"another process is writing to .*out; wait"),
            only_atomic_folder(tmp_path / "out"),
        ):
            pass
        with only_atomic_folder(tmp_path / "other") as other:
            (other / "b").touch()
        assert names_in(first) == ["a"]
    assert [names_in(tmp_path / name) for name in ("out", "other")] == [["a"], ["b"]]


def test_only_atomic_folder__a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> None:
        with only_atomic_folder(tmp_path / "out") as folder:
            (folder / "a").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert names_in(tmp_path) == []


def test_flush__what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        flush(tmp_path / "gone")


def test_write_json__same_content_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    expected = '{\n  "a": [\n    1\n  ],\n  "b": "ünï"\n}\n'.encode()
    write_json(path, {"b": "ünï", "a": [1]})
    assert path.read_bytes() == expected
    write_json(path, {"a": [1], "b": "ünï"})
    assert path.read_bytes() == expected


def test_write_json__what_json_cannot_carry_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_bytes() == b'{\n  "a": 1\n}\n'
    assert names_in(tmp_path) == ["a.json"]
