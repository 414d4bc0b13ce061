import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_miner_dagster_tests.export.faults.pictures import PICTURES
from data_miner_dagster_tests.export.faults.planting import Fault, cut, exchanged, gone, in_text


def in_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = folder / "annotations" / f"instances_{name}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(_with_entries_as_lines(content))

    return plant


def _with_entries_as_lines(content: dict[str, Any]) -> str:
    """Return the JSON of a COCO file in the writer's layout, in which large files are read back: one entry per line."""
    facts = [f'"{name}": {json.dumps(value)},' for name, value in content.items() if name not in LISTS]
    lists = [f'"{name}": [' + ",".join("\n" + json.dumps(one) for one in content[name]) + "\n]" for name in LISTS]
    return "{" + "\n".join(facts) + "\n" + ",\n".join(lists) + "}\n"


LISTS = ("images", "annotations")
IN_RELEASES: dict[str, Fault] = {
    "missing image": (
        in_json("train", lambda of: of["images"].pop(1)),
        "instances_train.json: 2 images and 3 boxes, expected 3 and 3",
    ),
    "extra image": (
        in_json("val", lambda of: of["images"].append(of["images"][0] | {"id": 9})),
        "instances_val.json: 2 images and 1 box, expected 1 and 1",
    ),
    "image in place of another": (
        in_json("all", lambda of: of["images"][1].update(id=9)),
        "instances_all.json: there is no image train/files-a_000002.jpg",
    ),
    "wrong box": (
        in_json("train", lambda of: of["annotations"][0].update(bbox=[5.0, 6.0, 36.0, 24.0])),
        r"instances_train.json: train/files-a_000000.jpg: the label of class 0 at \(5.0, 6.0, 41.0, 30.0\) "
        r"does not match the box of class 0 at \(4.0, 6.0",
    ),
    "box out of the picture": (
        in_json("all", lambda of: of["annotations"][2].update(bbox=[0.0, 0.0, 65.0, 48.0], area=3120.0)),
        r"instances_all.json: val/files-b_000000.jpg: the label of class 1 at \(0.0, 0.0, 65.0, 48.0\)",
    ),
    "wrong area": (
        in_json("val", lambda of: of["annotations"][0].update(area=3000.0)),
        "instances_val.json: val/files-b_000000.jpg: a box of 64.0 by 48.0 pixels has the area 3000.0",
    ),
    "box of another image": (
        in_json("train", lambda of: of["annotations"][1].update(image_id=2)),
        "instances_train.json: train/files-a_000000.jpg: 1 label, expected 2",
    ),
    "missing box": (in_json("val", lambda of: of["annotations"].clear()), "instances_val.json: 1 image and 0 boxes"),
    "box that is no number": (
        in_json("val", lambda of: of["annotations"][0].update(bbox=[float("nan"), 0.0, 64.0, 48.0])),
        "instances_val.json: val/files-b_000000.jpg: the label of class 1",
    ),
    "missing class": (in_json("test", lambda of: of["categories"].pop()), "instances_test.json: the categories are"),
    "classes in another order": (
        in_json("val", lambda of: of.update(categories=[{"id": 1, "name": "bicycle"}, {"id": 2, "name": "person"}])),
        "instances_val.json: the categories are",
    ),
    "swapped label": (
        in_json("all", lambda of: of["annotations"][0].update(category_id=2)),
        "instances_all.json: train/files-a_000000.jpg: the label of class 1 .* does not match the box of class 0",
    ),
    "wrong split": (in_json("all", lambda of: of["images"][2].update(split="test")), "instances_all.json: image 3 is"),
    "files of two splits exchanged": (
        exchanged("annotations/instances_val.json", "annotations/instances_train.json"),
        "instances_val.json: 3 images and 3 boxes, expected 1 and 1",
    ),
    "wrong size": (in_json("val", lambda of: of["images"][0].update(width=63)), "instances_val.json: image 3 is"),
    "wrong file": (
        in_json("all", lambda of: of["images"][0].update(file_name="train/x.jpg")),
        "instances_all.json: image 1",
    ),
    "truncated": (cut("annotations/instances_val.json"), r"coco: the files cannot be read \((JSONDecode|Value)Error"),
    "missing file": (gone("annotations/instances_test.json"), r"coco: the files cannot be read \(FileNotFoundError"),
    "no list": (in_text("annotations/instances_val.json", '"images"', '"pictures"'), "coco: the files cannot be read"),
}
IN_EXPORTS: dict[str, Fault] = {
    "missing image": PICTURES["missing image"],
    "swapped label": IN_RELEASES["swapped label"],
}
