"""A planted fault of each kind makes the read-back fail, in every format of releases and exports."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.export.coco import CocoWriter
from data_miner_dagster.export.crops import CropsWriter
from data_miner_dagster.export.huggingface import EmbeddedParquetWriter, ImageFolderWriter
from data_miner_dagster.export.parquet import ParquetWriter, read_images
from data_miner_dagster.export.verification import EXPORT_VERIFIERS, Expected, export_problems, release_problems
from data_miner_dagster.export.yolo import YoloWriter
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.releasing.standing import EXPORT_FORMATS
from data_miner_dagster.operations.releasing.writing import WRITERS
from data_miner_dagster_tests.support.releases import (
    HEADER,
    IMAGES,
    tally_of,
    write_pictures,
    write_sample_videos,
    write_with,
)

Fault = tuple[Callable[[Path], object], str]
"""What is done to a folder, and what the read-back says."""


def in_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        path = folder / "annotations" / f"instances_{name}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return plant


def in_yaml(change: Callable[[Any], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        content = yaml.safe_load((folder / "data.yaml").read_text())
        change(content)
        (folder / "data.yaml").write_text(yaml.safe_dump(content))

    return plant


def in_rows(name: str, change: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        schema = pq.read_schema(folder / name)
        rows = pq.ParquetFile(folder / name).read().to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name)

    return plant


def in_text(name: str, old: str, new: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return plant


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def gone(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def copied(name: str, new: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copyfile(folder / name, folder / new)


def exchanged(name: str, other: str) -> Callable[[Path], object]:
    def plant(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(content)

    return plant


PICTURES: dict[str, Fault] = {
    "missing image": (gone("images/train/files-a_000002.jpg"), "there is no image train/files-a_000002.jpg"),
    "extra image": (copied("images/val/files-b_000000.jpg", "images/test/x.jpg"), "images: 5 files, expected 4"),
    "truncated image": (cut("images/val/files-b_000000.jpg"), r"val/files-b_000000.jpg: \d+ bytes, expected \d+"),
    "another image": (
        exchanged("images/train/files-a_000000.jpg", "images/val/files-b_000000.jpg"),
        r"train/files-a_000000.jpg: \d+ bytes, expected",
    ),
}
COCO: dict[str, Fault] = {
    "missing image": (
        in_json("train", lambda of: of["images"].pop(1)),
        "instances_train.json: 2 images and 3 boxes, expected 3 and 3",
    ),
    "extra image": (
        in_json("val", lambda of: of["images"].append(of["images"][0] | {"id": 9})),
        "instances_val.json: 2 images and 1 boxes, expected 1 and 1",
    ),
    "image in place of another": (
        in_json("all", lambda of: of["images"][1].update(id=9)),
        "instances_all.json: there is no image train/files-a_000002.jpg",
    ),
    "wrong box": (
        in_json("train", lambda of: of["annotations"][0].update(bbox=[5.0, 6.0, 36.0, 24.0])),
        r"instances_train.json: train/files-a_000000.jpg: label 0 \(5.0, 6.0, 41.0, 30.0\) is not box 0 \(4.0, 6.0",
    ),
    "box out of the picture": (
        in_json("all", lambda of: of["annotations"][2].update(bbox=[0.0, 0.0, 65.0, 48.0], area=3120.0)),
        r"instances_all.json: val/files-b_000000.jpg: label 1 \(0.0, 0.0, 65.0, 48.0\)",
    ),
    "wrong area": (
        in_json("val", lambda of: of["annotations"][0].update(area=3000.0)),
        "instances_val.json: val/files-b_000000.jpg: area 3000.0 of a box of 64.0 by 48.0",
    ),
    "box of another image": (
        in_json("train", lambda of: of["annotations"][1].update(image_id=2)),
        "instances_train.json: train/files-a_000000.jpg: 1 labels, expected 2",
    ),
    "missing box": (in_json("val", lambda of: of["annotations"].clear()), "instances_val.json: 1 images and 0 boxes"),
    "box that is no number": (
        in_json("val", lambda of: of["annotations"][0].update(bbox=[float("nan"), 0.0, 64.0, 48.0])),
        "instances_val.json: val/files-b_000000.jpg: label 1",
    ),
    "missing class": (in_json("test", lambda of: of["categories"].pop()), "instances_test.json: categories"),
    "classes in another order": (
        in_json("val", lambda of: of.update(categories=[{"id": 1, "name": "bicycle"}, {"id": 2, "name": "person"}])),
        "instances_val.json: categories",
    ),
    "swapped label": (
        in_json("all", lambda of: of["annotations"][0].update(category_id=2)),
        "instances_all.json: train/files-a_000000.jpg: label 1 .* is not box 0",
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
    "truncated": (cut("annotations/instances_val.json"), r"coco: it cannot be read \(JSONDecodeError"),
    "missing file": (gone("annotations/instances_test.json"), r"coco: it cannot be read \(FileNotFoundError"),
    "no list": (in_text("annotations/instances_val.json", '"images"', '"pictures"'), "coco: it cannot be read"),
}
YOLO: dict[str, Fault] = {
    "missing labels": (gone("labels/train/files-a_000002.txt"), "train/files-a_000002.jpg: there is no label file"),
    "extra labels": (copied("labels/val/files-b_000000.txt", "labels/train/x.txt"), "labels: 5 files, expected 4"),
    "labels of another image": (
        exchanged("labels/train/files-a_000000.txt", "labels/val/files-b_000000.txt"),
        "train/files-a_000000.jpg: 1 labels, expected 2",
    ),
    "wrong box": (
        in_text("labels/val/files-b_000000.txt", "0.500000 0.500000", "0.499000 0.500000"),
        r"val/files-b_000000.jpg: label 1 \(-0.06",
    ),
    "box out of the picture": (
        in_text("labels/val/files-b_000000.txt", "1.000000 1.000000", "1.100000 1.000000"),
        "yolo: it cannot be read .*files-b_000000.txt: .* lies outside the image",
    ),
    "swapped label": (
        in_text("labels/val/files-b_000000.txt", "1 0.5", "0 0.5"),
        "val/files-b_000000.jpg: label 0 .* is not box 1",
    ),
    "unknown class": (in_text("labels/val/files-b_000000.txt", "1 0.5", "7 0.5"), "val/files-b_000000.jpg: label 7"),
    "truncated": (cut("labels/val/files-b_000000.txt"), "yolo: it cannot be read"),
    "emptied": (
        in_text("labels/val/files-b_000000.txt", "1 0.500000 0.500000 1.000000 1.000000\n", ""),
        "val/files-b_000000.jpg: 0 labels, expected 1",
    ),
    "missing class": (in_yaml(lambda of: of["names"].pop(1)), "data.yaml: names {0: 'person'}, expected"),
    "classes in another order": (in_yaml(lambda of: of.update(names={0: "bicycle", 1: "person"})), "data.yaml: names"),
    "other class ids": (in_yaml(lambda of: of.update(names={1: "person", 2: "bicycle"})), "data.yaml: names"),
    "wrong split": (in_yaml(lambda of: of.update(val="images/train")), "data.yaml: splits .* expected"),
    "missing split": (in_yaml(lambda of: of.pop("val")), "data.yaml: splits .* expected"),
    "no names": (in_yaml(lambda of: of.pop("names")), r"yolo: it cannot be read \(KeyError: 'names'"),
    "no mapping": (lambda folder: (folder / "data.yaml").write_text("- a\n- b\n"), "yolo: it cannot be read"),
    "no yaml": (lambda folder: (folder / "data.yaml").write_text("a: [1"), r"yolo: it cannot be read \(ParserError"),
    "missing file": (gone("data.yaml"), r"yolo: it cannot be read \(FileNotFoundError"),
}
PARQUET: dict[str, Fault] = {
    "missing image": (in_rows("data/images.parquet", lambda rows: rows.pop(1)), "data: 3 images, 4 boxes, expected 4"),
    "extra image": (
        in_rows("data/images.parquet", lambda rows: rows.append(rows[1] | {"image_id": 5})),
        "data: 5 images, 4 boxes, expected 4, 4",
    ),
    "image twice": (in_rows("data/images.parquet", lambda rows: rows[1].update(image_id=1)), "ids are not unique"),
    "missing box": (in_rows("data/boxes.parquet", lambda rows: rows.pop()), "data: 4 images, 3 boxes, expected 4, 4"),
    "wrong number of boxes": (
        in_rows("data/images.parquet", lambda rows: (rows[0].update(num_boxes=1), rows[1].update(num_boxes=1))),
        "data: 2 images have another number of boxes",
    ),
    "box of another image": (
        in_rows("data/boxes.parquet", lambda rows: rows[1].update(image_id=2)),
        "data: 1 boxes name another file or split than their image",
    ),
    "box of no image": (in_rows("data/boxes.parquet", lambda rows: rows[3].update(image_id=9)), "that are not there"),
    "boxes out of order": (in_rows("data/boxes.parquet", lambda rows: rows.reverse()), "not in order"),
    "box out of the picture": (
        in_rows("data/boxes.parquet", lambda rows: rows[2].update(x_max=64.5)),
        "data: 1 boxes lie outside their image",
    ),
    "empty box": (in_rows("data/boxes.parquet", lambda rows: rows[2].update(y_min=48.0)), "data: 1 boxes lie outside"),
    "box that is no number": (
        in_rows("data/boxes.parquet", lambda rows: rows[2].update(x_min=float("nan"))),
        "data: 1 boxes lie outside",
    ),
    "swapped label": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_index=1)),
        "data: 1 boxes have a class name that is not that of their class index",
    ),
    "swapped name": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_name="bicycle")),
        "data: boxes by class_name: {'person': 1, 'bicycle': 3}, expected {'person': 2, 'bicycle': 2}",
    ),
    "unknown class": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_index=7)),
        "data: 1 boxes have a class name",
    ),
    "wrong split of an image": (
        in_rows("data/images.parquet", lambda rows: rows[1].update(split="test")),
        "data: images by split: {'train': 2, 'val': 1, 'test': 1}, expected {'train': 3, 'val': 1, 'test': 0}",
    ),
    "splits of two images exchanged": (
        in_rows("data/images.parquet", lambda rows: (rows[1].update(split="val"), rows[2].update(split="train"))),
        "data: 2 images lie in the folder of another split",
    ),
    "wrong split of a box": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(split="val")),
        "data: boxes by split: {'train': 2, 'val': 2, 'test': 0}, expected {'train': 3, 'val': 1, 'test': 0}",
    ),
    "truncated images": (cut("data/images.parquet"), "parquet: it cannot be read"),
    "truncated boxes": (cut("data/boxes.parquet"), "parquet: it cannot be read"),
    "missing file": (gone("data/boxes.parquet"), r"parquet: it cannot be read \(FileNotFoundError"),
    "missing video": (
        in_rows("data/videos.parquet", lambda rows: rows.pop()),
        r"data: videos.parquet has files-c with None images and boxes, expected \(1, 1\)",
    ),
    "extra video": (
        in_rows("data/videos.parquet", lambda rows: rows.append(rows[0] | {"video_key": "files-d"})),
        r"data: videos.parquet has files-d with \(2, 2\) images and boxes, expected None",
    ),
    "video twice": (in_rows("data/videos.parquet", lambda rows: rows.append(rows[0])), "has a video twice"),
    "wrong number of a video": (
        in_rows("data/videos.parquet", lambda rows: rows[1].update(num_images=2)),
        r"data: videos.parquet has files-b with \(2, 1\) images and boxes, expected \(1, 1\)",
    ),
    "wrong split of a video": (
        in_rows("data/videos.parquet", lambda rows: rows[0].update(split="val")),
        "data: videos.parquet has videos in another split than their images",
    ),
    "truncated videos": (cut("data/videos.parquet"), r"videos: it cannot be read \(DataMinerError"),
}
HUB_ROWS: dict[str, tuple[Callable[[list[Any]], object], str]] = {
    "missing image": (lambda rows: rows.pop(), "there is no row of train/files-c_000001.jpg"),
    "extra image": (lambda rows: rows.append(rows[0]), "train: there are more rows than images"),
    "wrong order": (lambda rows: rows.reverse(), "train/files-a_000000.jpg: its row is of"),
    "wrong size": (lambda rows: rows[0].update(width=48, height=64), "train/files-a_000000.jpg: its row is of"),
    "wrong box": (
        lambda rows: rows[0]["objects"]["bbox"][0].__setitem__(0, 4.5),
        r"train/files-a_000000.jpg: label 0 \(4.5, 6.0, 40.5, 30.0\) is not box 0",
    ),
    "box out of the picture": (
        lambda rows: rows[2]["objects"]["bbox"][0].__setitem__(2, 70.0),
        "train/files-c_000001.jpg: label 0",
    ),
    "missing box": (
        lambda rows: [values.pop() for values in rows[0]["objects"].values()],
        "train/files-a_000000.jpg: 1 labels, expected 2",
    ),
    "swapped label": (
        lambda rows: rows[0]["objects"]["category"].reverse(),
        "train/files-a_000000.jpg: label 1 .* is not box 0",
    ),
    "swapped name": (
        lambda rows: rows[0]["objects"]["category_name"].reverse(),
        r"train/files-a_000000.jpg: classes \['bicycle', 'person'\] are not those of its boxes",
    ),
    "missing class": (
        lambda rows: rows[0]["objects"]["category"].pop(),
        r"it cannot be read \(ValueError: zip\(\) argument 2 is longer",
    ),
}
IMAGE_FOLDER: dict[str, Fault] = {
    **{name: (in_rows("images/train/metadata.parquet", change), line) for name, (change, line) in HUB_ROWS.items()},
    "wrong file": (
        in_rows("images/train/metadata.parquet", lambda rows: rows[0].update(file_name="x.jpg")),
        "train/files-a_000000.jpg: its row is of",
    ),
    "wrong split": (
        exchanged("images/train/metadata.parquet", "images/val/metadata.parquet"),
        "train/files-a_000000.jpg: its row is of",
    ),
    "table of a split without images": (
        copied("images/val/metadata.parquet", "images/test/metadata.parquet"),
        "test/metadata.parquet: a split without images has none",
    ),
    "missing file": (gone("images/val/metadata.parquet"), r"image folder: it cannot be read \(FileNotFoundError"),
    "truncated": (cut("images/val/metadata.parquet"), "image folder: it cannot be read"),
}
EMBEDDED: dict[str, Fault] = {
    **{name: (in_rows("data/train-00000.parquet", change), line) for name, (change, line) in HUB_ROWS.items()},
    "another image": (
        in_rows("data/train-00000.parquet", lambda rows: rows[0]["image"].update(bytes=rows[1]["image"]["bytes"])),
        "train/files-a_000000.jpg: its bytes are not those of the image",
    ),
    "truncated image": (
        in_rows("data/val-00000.parquet", lambda rows: rows[0]["image"].update(bytes=rows[0]["image"]["bytes"][:-9])),
        "val/files-b_000000.jpg: its bytes are not those of the image",
    ),
    "wrong split": (
        exchanged("data/train-00000.parquet", "data/val-00000.parquet"),
        "train/files-a_000000.jpg: its row is of",
    ),
    "missing shard": (gone("data/val-00000.parquet"), "there is no row of val/files-b_000000.jpg"),
    "extra shard": (
        copied("data/val-00000.parquet", "data/val-00001.parquet"),
        "val: there are more rows than images",
    ),
    "shard of a split without images": (
        copied("data/val-00000.parquet", "data/test-00000.parquet"),
        "test: there are more rows than images",
    ),
    "extra file": (copied("data/val-00000.parquet", "data/other.parquet"), "data: 3 files, expected 2"),
    "truncated shard": (cut("data/val-00000.parquet"), "embedded: it cannot be read"),
}
CROP = "train/000_person/files-a_000000_000.jpg"
CROPS: dict[str, Fault] = {
    "missing image": (gone(CROP), f"there is no crop {CROP}"),
    "extra image": (copied(CROP, "train/000_person/x.jpg"), ": 5 files, expected 4"),
    "wrong box": (
        exchanged(CROP, "train/001_bicycle/files-a_000000_001.jpg"),
        rf"{CROP}: \(20, 39\) pixels, expected \(36, 24\)",
    ),
    "swapped label": (
        lambda folder: (folder / CROP).rename(folder / "train/001_bicycle/files-a_000000_000.jpg"),
        f"there is no crop {CROP}",
    ),
    "wrong split": (
        lambda folder: (folder / "train").rename(folder / "test"),
        f"there is no crop {CROP}",
    ),
    "truncated": (cut(CROP), r"crops: it cannot be read \(OSError"),
    "no picture": (lambda folder: (folder / CROP).write_text("x"), r"crops: it cannot be read \(UnidentifiedImage"),
}
IN_RELEASES: dict[str, dict[str, Fault]] = {
    "pictures": PICTURES,
    "coco": COCO,
    "yolo": YOLO,
    "parquet": {
        **PARQUET,
        "wrong box": (
            in_rows("data/boxes.parquet", lambda rows: rows[0].update(x_min=4.5)),
            r"instances_train.json: train/files-a_000000.jpg: label 0 \(4.0, .* is not box 0 \(4.5,",
        ),
    },
    "image folder": IMAGE_FOLDER,
}
IN_EXPORTS: dict[str, dict[str, Fault]] = {
    # The verifiers of releases, of which one fault each shows that they are at work.
    "coco": {"missing image": PICTURES["missing image"], "swapped label": COCO["swapped label"]},
    "yolo": {"missing image": PICTURES["missing image"], "swapped label": YOLO["swapped label"]},
    "parquet": {
        "truncated image": PICTURES["truncated image"],
        "swapped label": PARQUET["swapped label"],
        "wrong split of a video": PARQUET["wrong split of a video"],
        "wrong box": (
            in_rows("data/boxes.parquet", lambda rows: rows[0].update(x_min=4.5)),
            "data: train/files-a_000000.jpg is not what the release says",
        ),
        "another address": (
            in_rows("data/images.parquet", lambda rows: rows[2].update(video_url="https://videos.example/x")),
            "data: val/files-b_000000.jpg is not what the release says",
        ),
    },
    "huggingface": EMBEDDED,
    "crops": CROPS,
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, and beside it every export of it, by format."""
    base = tmp_path_factory.mktemp("sound")
    release = base / "release"
    write_pictures(release)
    for writer in WRITERS:
        write_with(writer, release)
    write_sample_videos(release)
    for name, make in (("coco", CocoWriter), ("yolo", YoloWriter), ("parquet", ParquetWriter)):
        write_pictures(base / name)
        write_with(make, base / name)
    write_sample_videos(base / "parquet")
    (base / "huggingface").mkdir()
    write_with(EmbeddedParquetWriter, base / "huggingface", release)
    with StoredPictures(ExtractionConfig()) as pictures:
        write_with(CropsWriter, base / "crops", release, pictures, lambda _name, work: work())
    return base


def exported(folder: Path, format: str, release: Path) -> list[str]:
    return export_problems(format, folder, Expected(HEADER, tally_of(IMAGES), lambda: read_images(release)))


def test_release_problems__none(sound: Path) -> None:
    assert release_problems(sound / "release", HEADER, tally_of(IMAGES)) == []


@pytest.mark.parametrize("format", IN_EXPORTS)
def test_export_problems__none(sound: Path, format: str) -> None:
    assert exported(sound / format, format, sound / "release") == []


def test_export_problems__every_format_is_read_back() -> None:
    assert list(EXPORT_VERIFIERS) == list(IN_EXPORTS) == [name for name in EXPORT_FORMATS if name != "all"]
    assert set(WRITERS) == {CocoWriter, YoloWriter, ParquetWriter, ImageFolderWriter}


@pytest.mark.parametrize(
    ("format", "fault"), [(format, fault) for format, faults in IN_RELEASES.items() for fault in faults]
)
def test_release_problems__a_planted_fault(sound: Path, tmp_path: Path, format: str, fault: str) -> None:
    plant, expected = IN_RELEASES[format][fault]
    shutil.copytree(sound / "release", tmp_path / "release")
    plant(tmp_path / "release")
    problems = release_problems(tmp_path / "release", HEADER, tally_of(IMAGES))
    assert any(re.search(expected, problem) for problem in problems), problems


@pytest.mark.parametrize(
    ("format", "fault"), [(format, fault) for format, faults in IN_EXPORTS.items() for fault in faults]
)
def test_export_problems__a_planted_fault(sound: Path, tmp_path: Path, format: str, fault: str) -> None:
    plant, expected = IN_EXPORTS[format][fault]
    shutil.copytree(sound / format, tmp_path / format)
    plant(tmp_path / format)
    problems = exported(tmp_path / format, format, sound / "release")
    assert any(re.search(expected, problem) for problem in problems), problems
