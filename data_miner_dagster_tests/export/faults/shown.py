"""Faults in the tables of the boxes that were shown, which every format for an annotation tool contains."""

from data_miner_dagster_tests.export.faults.planting import Fault, gone, in_rows, in_text

SHOWN: dict[str, Fault] = {
    "shown: another box": (
        in_rows("shown/data/boxes.parquet", lambda rows: rows[0].update(x_min=4.5)),
        "shown: data: train/files-a_000000.jpg differs from the release",
    ),
    "shown: another release": (
        in_text("shown/header.json", "v001", "v002"),
        "shown: header.json does not match cyclists v001",
    ),
    "shown: no tables": (gone("shown/data/images.parquet"), r"shown: the files cannot be read \(FileNotFoundError"),
}
