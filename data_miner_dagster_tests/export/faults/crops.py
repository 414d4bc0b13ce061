from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone

CROP = "train/000_person/files-a_000000_000.jpg"
IN_EXPORTS: dict[str, Fault] = {
    "missing image": (gone(CROP), f"there is no crop {CROP}"),
    "extra image": (copied(CROP, "train/000_person/x.jpg"), ": 5 .jpg files, expected 4"),
    "wrong box": (
        exchanged(CROP, "train/001_bicycle/files-a_000000_001.jpg"),
        rf"{CROP}: the crop has \(20, 39\) pixels, expected \(36, 24\)",
    ),
    "swapped label": (
        lambda folder: (folder / CROP).rename(folder / "train/001_bicycle/files-a_000000_000.jpg"),
        f"there is no crop {CROP}",
    ),
    "wrong split": (
        lambda folder: (folder / "train").rename(folder / "test"),
        f"there is no crop {CROP}",
    ),
    "truncated": (cut(CROP), r"crops: the files cannot be read \(OSError"),
    "no picture": (
        lambda folder: (folder / CROP).write_text("x"),
        r"crops: the files cannot be read \(UnidentifiedImage",
    ),
}
