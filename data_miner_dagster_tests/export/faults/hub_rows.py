"""Faults in a row. The formats that store one row per image share them."""

from collections.abc import Callable
from typing import Any

HUB_ROWS: dict[str, tuple[Callable[[list[Any]], object], str]] = {
    "missing image": (lambda rows: rows.pop(), "there is no row for train/files-c_000001.jpg"),
    "extra image": (lambda rows: rows.append(rows[0]), "train: there are more rows than images"),
    "wrong order": (lambda rows: rows.reverse(), "train/files-a_000000.jpg: its row has"),
    "wrong size": (lambda rows: rows[0].update(width=48, height=64), "train/files-a_000000.jpg: its row has"),
    "wrong box": (
        lambda rows: rows[0]["objects"]["bbox"][0].__setitem__(0, 4.5),
        r"train/files-a_000000.jpg: the label of class 0 at \(4.5, 6.0, 40.5, 30.0\) does not match the box of class 0",
    ),
    "box out of the picture": (
        lambda rows: rows[2]["objects"]["bbox"][0].__setitem__(2, 70.0),
        "train/files-c_000001.jpg: the label of class 0",
    ),
    "missing box": (
        lambda rows: [values.pop() for values in rows[0]["objects"].values()],
        "train/files-a_000000.jpg: 1 label, expected 2",
    ),
    "swapped label": (
        lambda rows: rows[0]["objects"]["category"].reverse(),
        "train/files-a_000000.jpg: the label of class 1 .* does not match the box of class 0",
    ),
    "swapped name": (
        lambda rows: rows[0]["objects"]["category_name"].reverse(),
        r"train/files-a_000000.jpg: the class names \['bicycle', 'person'\] differ from those of its boxes",
    ),
    "missing class": (
        lambda rows: rows[0]["objects"]["category"].pop(),
        r"the files cannot be read \(ValueError: zip\(\) argument 2 is longer",
    ),
}
