import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_miner_dagster_tests.export.faults.hub_rows import HUB_ROWS
from data_miner_dagster_tests.export.faults.planting import Fault


def in_table(split: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Return a fault that changes the rows of a split."""

    def plant(folder: Path) -> None:
        import lance

        table = lance.dataset(folder / "data" / f"{split}.lance").to_table()
        rows = table.to_pylist()
        change(rows)
        shutil.rmtree(folder / "data" / f"{split}.lance")
        lance.write_dataset(pa.Table.from_pylist(rows, schema=table.schema), folder / "data" / f"{split}.lance")

    return plant


def without_data(folder: Path) -> None:
    """Truncate the data file of a table."""
    (data,) = (folder / "data" / "val.lance" / "data").iterdir()
    data.write_bytes(data.read_bytes()[:50])


IN_EXPORTS: dict[str, Fault] = {
    **{name: (in_table("train", change), line) for name, (change, line) in HUB_ROWS.items()},
    "another image": (
        in_table("train", lambda rows: rows[0].update(image=rows[1]["image"])),
        "train/files-a_000000.jpg: the image in its row differs from the image file",
    ),
    "missing table": (
        lambda folder: shutil.rmtree(folder / "data" / "val.lance"),
        r"the tables are \['train.lance'\], expected \['train.lance', 'val.lance'\]",
    ),
    "table of a split without images": (
        lambda folder: shutil.copytree(folder / "data" / "val.lance", folder / "data" / "test.lance"),
        "expected .'train.lance', 'val.lance'",
    ),
    "truncated data": (without_data, "lance: the files cannot be read"),
}
