from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from data_miner_dagster_tests.export.faults.pictures import PICTURES
from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone, in_text


def in_yaml(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        content = yaml.safe_load((folder / "data.yaml").read_text())
        change(content)
        (folder / "data.yaml").write_text(yaml.safe_dump(content))

    return plant


IN_RELEASES: dict[str, Fault] = {
    "missing labels": (gone("labels/train/files-a_000002.txt"), "train/files-a_000002.jpg: there is no label file"),
    "extra labels": (copied("labels/val/files-b_000000.txt", "labels/train/x.txt"), "labels: 5 .txt files, expected 4"),
    "labels of another image": (
        exchanged("labels/train/files-a_000000.txt", "labels/val/files-b_000000.txt"),
        "train/files-a_000000.jpg: 1 label, expected 2",
    ),
    "wrong box": (
        in_text("labels/val/files-b_000000.txt", "0.500000 0.500000", "0.499000 0.500000"),
        r"val/files-b_000000.jpg: the label of class 1 at \(-0.06",
    ),
    "box out of the picture": (
        in_text("labels/val/files-b_000000.txt", "1.000000 1.000000", "1.100000 1.000000"),
        "yolo: the files cannot be read .*the line .* of files-b_000000.txt has a number outside 0 to 1",
    ),
    "swapped label": (
        in_text("labels/val/files-b_000000.txt", "1 0.5", "0 0.5"),
        "val/files-b_000000.jpg: the label of class 0 .* does not match the box of class 1",
    ),
    "unknown class": (
        in_text("labels/val/files-b_000000.txt", "1 0.5", "7 0.5"),
        "val/files-b_000000.jpg: the label of class 7",
    ),
    "truncated": (cut("labels/val/files-b_000000.txt"), "yolo: the files cannot be read"),
    "emptied": (
        in_text("labels/val/files-b_000000.txt", "1 0.500000 0.500000 1.000000 1.000000\n", ""),
        "val/files-b_000000.jpg: 0 labels, expected 1",
    ),
    "missing class": (in_yaml(lambda of: of["names"].pop(1)), "data.yaml: the names are {0: 'person'}, expected"),
    "classes in another order": (
        in_yaml(lambda of: of.update(names={0: "bicycle", 1: "person"})),
        "data.yaml: the names are",
    ),
    "other class ids": (in_yaml(lambda of: of.update(names={1: "person", 2: "bicycle"})), "data.yaml: the names are"),
    "wrong split": (in_yaml(lambda of: of.update(val="images/train")), "data.yaml: the splits are .* expected"),
    "missing split": (in_yaml(lambda of: of.pop("val")), "data.yaml: the splits are .* expected"),
    "no names": (in_yaml(lambda of: of.pop("names")), r"yolo: the files cannot be read \(KeyError: 'names'"),
    "no mapping": (lambda folder: (folder / "data.yaml").write_text("- a\n- b\n"), "yolo: the files cannot be read"),
    "no yaml": (
        lambda folder: (folder / "data.yaml").write_text("a: [1"),
        r"yolo: the files cannot be read \(ParserError",
    ),
    "missing file": (gone("data.yaml"), r"yolo: the files cannot be read \(FileNotFoundError"),
}
IN_EXPORTS: dict[str, Fault] = {
    "missing image": PICTURES["missing image"],
    "swapped label": IN_RELEASES["swapped label"],
}
