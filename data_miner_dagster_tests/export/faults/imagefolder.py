from data_miner_dagster_tests.export.faults.hub_rows import HUB_ROWS
from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone, in_rows

IN_RELEASES: dict[str, Fault] = {
    **{name: (in_rows("images/train/metadata.parquet", change), line) for name, (change, line) in HUB_ROWS.items()},
    "wrong file": (
        in_rows("images/train/metadata.parquet", lambda rows: rows[0].update(file_name="x.jpg")),
        "train/files-a_000000.jpg: its row has",
    ),
    "wrong split": (
        exchanged("images/train/metadata.parquet", "images/val/metadata.parquet"),
        "train/files-a_000000.jpg: its row has",
    ),
    "table of a split without images": (
        copied("images/val/metadata.parquet", "images/test/metadata.parquet"),
        "test/metadata.parquet: the file exists although the split has no images",
    ),
    "missing file": (
        gone("images/val/metadata.parquet"),
        r"image folder: the files cannot be read \(FileNotFoundError",
    ),
    "truncated": (cut("images/val/metadata.parquet"), "image folder: the files cannot be read"),
}
