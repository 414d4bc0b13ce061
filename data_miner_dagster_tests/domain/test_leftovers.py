"""Tests that the next writer removes what killed writers leave behind, but nothing that belongs to a live writer."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_miner_dagster.domain.leftovers import held, is_held, remove_abandoned, scratch_folder

WRITER = """
import sys
from pathlib import Path
from data_miner_dagster.domain.leftovers import scratch_folder
with scratch_folder(Path(sys.argv[1])) as made:
    (made / "content").touch()
    print(made, flush=True)
    sys.stdin.read()
"""


@contextmanager
def writer(parent: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Yield a process that fills a temporary folder in `parent`, and the path of the folder."""
    command = [sys.executable, "-c", WRITER, str(parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def make_old(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then), follow_symlinks=False)


def test_remove_abandoned__a_folder_of_another_process_once_it_is_dead(tmp_path: Path) -> None:
    with writer(tmp_path) as (process, made):
        make_old(made, hours=100)
        assert is_held(made)
        remove_abandoned([made])
        assert made.exists()
        process.kill()
        process.wait()
        assert made.exists()
        assert not is_held(made)
        remove_abandoned([made])
        assert not made.exists()


def test_remove_abandoned__only_what_is_old_enough(tmp_path: Path) -> None:
    folders = {hours: tmp_path / f"folder-{hours}" for hours in (0.5, 2)}
    files = {hours: tmp_path / f"file-{hours}" for hours in (2, 23, 25)}
    for folder in folders.values():
        folder.mkdir()
        (folder / "content").touch()
    for file in files.values():
        file.touch()
    for hours, path in (*folders.items(), *files.items()):
        make_old(path, hours)
    remove_abandoned([*folders.values(), *files.values(), tmp_path / "gone"])
    assert sorted(tmp_path.iterdir()) == sorted([folders[0.5], files[2], files[23]])


def test_remove_abandoned__of_a_link_not_what_it_names(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    for path in (target, link):
        make_old(path, hours=100)
    remove_abandoned([link])
    assert list(tmp_path.iterdir()) == [target]


def test_scratch_folder__removes_what_earlier_ones_left_and_itself(tmp_path: Path) -> None:
    left, other = tmp_path / ".partial-k2_x9abc", tmp_path / ".partial-0123456789ab-backup"
    for folder in (left, other):
        (folder / "below").mkdir(parents=True)
        make_old(folder, hours=2)
    with writer(tmp_path) as (_, living):
        make_old(living, hours=2)
        with scratch_folder(tmp_path) as own:
            assert is_held(own)
            assert sorted(tmp_path.iterdir()) == sorted([own, living, other])
    assert sorted(tmp_path.iterdir()) == sorted([living, other])


def test_held__until_the_end_of_the_block(tmp_path: Path) -> None:
    with held(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
