from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone

PICTURES: dict[str, Fault] = {
    "missing image": (gone("images/train/files-a_000002.jpg"), "there is no image train/files-a_000002.jpg"),
    "extra image": (copied("images/val/files-b_000000.jpg", "images/test/x.jpg"), "images: 5 files, expected 4"),
    "truncated image": (
        cut("images/val/files-b_000000.jpg"),
        r"val/files-b_000000.jpg: the file has [\d,]+ bytes, expected [\d,]+",
    ),
    "another image": (
        exchanged("images/train/files-a_000000.jpg", "images/val/files-b_000000.jpg"),
        r"train/files-a_000000.jpg: the file has [\d,]+ bytes, expected",
    ),
}
