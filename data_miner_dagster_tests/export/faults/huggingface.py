from data_miner_dagster_tests.export.faults.hub_rows import HUB_ROWS
from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone, in_rows

IN_EXPORTS: dict[str, Fault] = {
    **{name: (in_rows("data/train-00000.parquet", change), line) for name, (change, line) in HUB_ROWS.items()},
    "another image": (
        in_rows("data/train-00000.parquet", lambda rows: rows[0]["image"].update(bytes=rows[1]["image"]["bytes"])),
        "train/files-a_000000.jpg: the image in its row differs from the image file",
    ),
    "truncated image": (
        in_rows("data/val-00000.parquet", lambda rows: rows[0]["image"].update(bytes=rows[0]["image"]["bytes"][:-9])),
        "val/files-b_000000.jpg: the image in its row differs from the image file",
    ),
    "wrong split": (
        exchanged("data/train-00000.parquet", "data/val-00000.parquet"),
        "train/files-a_000000.jpg: its row has",
    ),
    "missing shard": (gone("data/val-00000.parquet"), "there is no row for val/files-b_000000.jpg"),
    "extra shard": (
        copied("data/val-00000.parquet", "data/val-00001.parquet"),
        "val: there are more rows than images",
    ),
    "shard of a split without images": (
        copied("data/val-00000.parquet", "data/test-00000.parquet"),
        "test: there are more rows than images",
    ),
    "extra file": (copied("data/val-00000.parquet", "data/other.parquet"), "data: 3 files, expected 2"),
    "truncated shard": (cut("data/val-00000.parquet"), "embedded: the files cannot be read"),
}
