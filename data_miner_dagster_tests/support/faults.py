"""Change a stored table as a bug would: its identity stays the same, its rows do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_miner_dagster.storage.tables import read_fingerprint, read_metadata, read_table, table_from_rows, write_table

Rows = list[dict[str, Any]]


def change_rows(path: Path, change: Callable[[Rows], object]) -> None:
    """Let `change` modify the rows of a table in place, and write them with the table's old fingerprint."""
    table = read_table(path)
    rows: Rows = table.to_pylist()
    change(rows)
    write_table(
        path,
        table_from_rows(rows, table.schema.remove_metadata()),
        fingerprint=read_fingerprint(path) or "",
        metadata={name: value for name, value in read_metadata(path).items() if name != "data_miner.fingerprint"},
    )
