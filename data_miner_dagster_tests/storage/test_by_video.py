from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.storage.by_video import TableByVideo, rows_of_frames, runs_of


def _write(path: Path, keys: list[str], row_group_size: int) -> Path:
    table = pa.table({"video_key": pa.array(keys, pa.string()), "number": pa.array(range(len(keys)), pa.int64())})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def test_runs_of() -> None:
    assert runs_of(pa.array([], pa.string())) == []
    assert runs_of(pa.array(["x"])) == [("x", 0, 1)]
    keys = pa.array(["x", "x", "y", "x"])
    assert runs_of(keys) == runs_of(keys.dictionary_encode()) == [("x", 0, 2), ("y", 2, 3), ("x", 3, 4)]


def test_table_by_video__empty(tmp_path: Path) -> None:
    table = TableByVideo(_write(tmp_path / "t.parquet", [], 10), ["number"])
    assert table.video_keys == []
    assert table.rows_of("files-a").num_rows == 0
    assert table.rows_of("files-a").column_names == ["number"]


@pytest.mark.parametrize("row_group_size", [1, 2, 3, 100])
def test_table_by_video__rows_across_row_groups(tmp_path: Path, row_group_size: int) -> None:
    # "files-a-b/..." sorts before "files-a/...", so rows are not stored in the order of their keys
    keys = ["files-a-b", "files-a-b", "files-a", "files-a", "files-a", "files-c"]
    table = TableByVideo(_write(tmp_path / "t.parquet", keys, row_group_size), ["number"])
    assert table.video_keys == ["files-a", "files-a-b", "files-c"]
    found = {key: table.rows_of(key)["number"].to_pylist() for key in table.video_keys}
    assert found == {"files-a-b": [0, 1], "files-a": [2, 3, 4], "files-c": [5]}
    assert table.rows_of("files-b").num_rows == 0


def test_table_by_video__a_video_in_two_places(tmp_path: Path) -> None:
    table = TableByVideo(_write(tmp_path / "t.parquet", ["x", "y", "x"], 100), ["number", "video_key"])
    assert table.rows_of("x")["number"].to_pylist() == [0, 2]


def test_table_by_video__dictionary_encoded_keys(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    keys = pa.array(["x", "x", "y"], pa.string()).dictionary_encode()
    pq.write_table(pa.table({"video_key": keys, "number": pa.array([1, 2, 3])}), path)
    table = TableByVideo(path, ["number"])
    assert table.rows_of("x")["number"].to_pylist() == [1, 2]


@pytest.mark.parametrize("row_group_size", [1, 2, 100])
def test_rows_of_frames__of_any_row_group(tmp_path: Path, row_group_size: int) -> None:
    frames = ["a/000001", "a/000001", "a/000003", "b/000000", "b/000000"]
    table = pa.table({"frame_id": frames, "number": list(range(5)), "more": list("vwxyz")})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=row_group_size)
    found = rows_of_frames(tmp_path / "t.parquet", ["b/000000", "a/000001", "c"], ["number", "more"])
    assert found.to_pylist() == [{"number": number, "more": "vwxyz"[number]} for number in (0, 1, 3, 4)]
    assert rows_of_frames(tmp_path / "t.parquet", ["a/000002"], ["number"]).num_rows == 0
