"""Test functions that list folders while their contents change."""

from pathlib import Path
from shutil import rmtree
from threading import Event, Thread

from data_miner_dagster.storage.changing_folders import modified_at, paths_below


def test_paths_below__are_sorted_and_may_be_hidden(tmp_path: Path) -> None:
    for name in ("b/.partial-1/x.parquet", "a/c/y.parquet", "a/z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert paths_below(tmp_path, "*/*/*.parquet") == [tmp_path / "a/c/y.parquet", tmp_path / "b/.partial-1/x.parquet"]
    assert paths_below(tmp_path, "**/*.parquet") == paths_below(tmp_path, "*/*/*.parquet")
    assert paths_below(tmp_path / "[ab]", "*") == []
    assert paths_below(tmp_path / "nothing", "*") == []


def test_paths_below__while_folders_come_and_go(tmp_path: Path) -> None:
    (tmp_path / "stays" / "inside").mkdir(parents=True)
    is_over = Event()

    def come_and_go() -> None:
        while not is_over.is_set():
            for number in range(20):
                (tmp_path / f"goes-{number}" / "inside").mkdir(parents=True)
            for number in range(20):
                rmtree(tmp_path / f"goes-{number}")

    other = Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(200):
            assert tmp_path / "stays" / "inside" in paths_below(tmp_path, "*/*")
    finally:
        is_over.set()
        other.join()


def test_modified_at__of_what_is_gone(tmp_path: Path) -> None:
    assert modified_at(tmp_path) == tmp_path.stat().st_mtime
    assert modified_at(tmp_path / "gone") is None
