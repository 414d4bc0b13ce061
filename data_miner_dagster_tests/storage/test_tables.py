"""Test tables that record what they were made from. Damaged tables are tested in test_damage.py."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.storage.tables import (
    TableIdentity,
    open_table,
    read_batches,
    read_fingerprint,
    read_identity,
    read_metadata,
    read_table,
    table_from_rows,
    table_writer,
    write_table,
)

SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.int64())])
ROWS: list[dict[str, object]] = [{"key": "a", "value": 3}, {"key": "b", "value": None}, {"key": "a", "value": 1}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


def write(path: Path, num_tables: int = 1) -> None:
    with table_writer(path, SCHEMA, fingerprint="f1", metadata={"z": "1", "made of": "ä"}) as writer:
        for _ in range(num_tables):
            writer.write_table(table_from_rows(ROWS, SCHEMA))


def test_read_table__no_rows(path: Path) -> None:
    write_table(path, table_from_rows([], SCHEMA), fingerprint="f")
    assert read_table(path).to_pylist() == []
    assert list(read_batches(path, ["key"])) == []
    assert read_identity(path) == TableIdentity("f", 0)


def test_read_table__rows_and_columns_come_back_in_their_order(path: Path) -> None:
    write(path)
    assert read_table(path).to_pylist() == ROWS
    assert read_table(path, ["value"]).to_pylist() == [{"value": 3}, {"value": None}, {"value": 1}]
    assert read_table(path).schema.equals(SCHEMA)


def test_read_batches__row_groups_follow_each_other(path: Path) -> None:
    write(path, num_tables=3)
    assert [row for batch in read_batches(path, ["key"]) for row in batch.to_pylist()] == 3 * [
        {"key": "a"},
        {"key": "b"},
        {"key": "a"},
    ]
    assert read_identity(path) == TableIdentity("f1", 9)


def test_read_identity__of_what_was_written_and_of_a_stranger(path: Path) -> None:
    assert read_identity(path) is None
    write(path, num_tables=2)
    assert read_identity(path) == TableIdentity("f1", 6)
    pq.write_table(pa.table({"key": ["a"]}), path)
    assert read_identity(path) == TableIdentity(None, 1)


def test_read_metadata__without_what_arrow_adds(path: Path) -> None:
    assert (read_metadata(path), read_fingerprint(path)) == ({}, None)
    write(path)
    assert b"ARROW:schema" in pq.ParquetFile(path).metadata.metadata
    assert read_metadata(path) == {"data_miner.fingerprint": "f1", "z": "1", "made of": "ä"}
    assert read_fingerprint(path) == "f1"
    pq.write_table(pa.table({"key": ["a"]}), path)
    assert read_fingerprint(path) is None


def test_write_table__same_rows_same_bytes(tmp_path: Path) -> None:
    table = table_from_rows(ROWS, SCHEMA)
    write_table(tmp_path / "one", table, fingerprint="f", metadata={"a": "1", "b": "2"})
    write_table(tmp_path / "two", table, fingerprint="f", metadata={"b": "2", "a": "1"})
    write_table(tmp_path / "other", table, fingerprint="g", metadata={"a": "1", "b": "2"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_table_writer__an_exception_leaves_the_old_table(path: Path) -> None:
    write(path)

    def write_half() -> None:
        with table_writer(path, SCHEMA, fingerprint="f2") as writer:
            writer.write_table(table_from_rows(ROWS, SCHEMA))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert read_identity(path) == TableIdentity("f1", 3)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.parquet"]


@pytest.mark.parametrize(("dictionary_columns", "encoded"), [(None, ["key", "value"]), (["key"], ["key"]), ([], [])])
def test_table_writer__encodes_the_columns_named_as_dictionaries(
    path: Path, dictionary_columns: list[str] | None, encoded: list[str]
) -> None:
    with table_writer(path, SCHEMA, fingerprint="f", dictionary_columns=dictionary_columns) as writer:
        writer.write_table(table_from_rows(ROWS, SCHEMA))
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert [column.path_in_schema for column in columns if column.has_dictionary_page] == encoded


@pytest.mark.parametrize("rows", [[{"value": 1}], [{"key": "a", "value": 1}, {"key": None, "value": 2}]])
def test_table_from_rows__a_non_null_column_without_a_value_is_an_error(rows: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match=r"the column key must not contain nulls, but has 1 null in "):
        table_from_rows(rows, SCHEMA)


def test_table_from_rows__a_missing_value_of_another_column_is_none() -> None:
    assert table_from_rows([{"key": "a"}], SCHEMA).to_pylist() == [{"key": "a", "value": None}]


def test_open_table__no_table(path: Path) -> None:
    for read in (lambda: open_table(path), lambda: list(read_batches(path, ["key"]))):
        with pytest.raises(FileNotFoundError):
            read()
