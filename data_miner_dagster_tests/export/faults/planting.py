"""Ways to damage the files of a release or an export."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Fault = tuple[Callable[[Path], object], str]
"""A function that damages a folder, and a regular expression that matches what the read-back then reports."""


def in_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a fault that replaces the first `old` in a text file."""

    def plant(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return plant


def in_rows(name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Return a fault that changes the rows of a Parquet file."""

    def plant(folder: Path) -> None:
        schema = pq.read_schema(folder / name)
        rows = pq.ParquetFile(folder / name).read().to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)

    return plant


def cut(name: str) -> Callable[[Path], object]:
    """Return a fault that cuts off the last 20 bytes of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def gone(name: str) -> Callable[[Path], object]:
    """Return a fault that deletes a file."""
    return lambda folder: (folder / name).unlink()


def copied(name: str, new: str) -> Callable[[Path], object]:
    """Return a fault that adds a copy of a file."""
    return lambda folder: shutil.copyfile(folder / name, folder / new)


def copied_folder(name: str, new: str) -> Callable[[Path], object]:
    """Return a fault that adds a copy of a folder."""
    return lambda folder: shutil.copytree(folder / name, folder / new)


def exchanged(name: str, other: str) -> Callable[[Path], object]:
    """Return a fault that swaps the contents of two files."""

    def plant(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(content)

    return plant
