"""Test that each format's own library can read a release."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from data_miner_dagster.export.coco import read_coco
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.operations.releasing.release_folders import release_folder
from data_miner_dagster_tests.operations.releasing.test_release_project import _expected_splits
from data_miner_dagster_tests.support.sample_project import build_project


def test_release_project__a_split_goes_by_the_name_of_each_format(tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"splits": {"train": 0.1, "valid": 0.9}})
    outcome = release_project(platform, "cyclists")
    assert outcome.counts["images in valid"] > 0
    data = yaml.safe_load((release_folder(platform) / "data.yaml").read_text())
    assert {name: data[name] for name in data if name != "names"} == {"train": "images/train", "val": "images/valid"}
    card = (release_folder(platform) / "README.md").read_text()
    front_matter = yaml.safe_load(card.split("---")[1])
    assert front_matter["configs"][0]["data_files"] == [
        {"split": "train", "path": "images/train/**"},
        {"split": "validation", "path": "images/valid/**"},
    ]


def test_release_project__reads_back_with_pycocotools(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    coco = read_coco(release_folder(platform) / "annotations" / "instances_all.json")
    assert [category["name"] for category in coco.loadCats([1, 2])] == ["person", "bicycle"]
    assert coco.getImgIds(catIds=[2]) == [1, 6]
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    assert annotation["bbox"] == [10.5, 8.25, 19.5, 38.75]
    assert annotation["area"] == 755.625
    assert coco.imgs[2]["video_url"] == "https://videos.example/files-aaa.mp4"
    assert coco.imgs[2]["pts_seconds"] == 3.0


_READ_WITH_ULTRALYTICS = """
import json, sys
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

checked = check_det_dataset(sys.argv[1] + "/data.yaml", autodownload=False)
labels = {}
for split in sys.argv[2:]:
    dataset = YOLODataset(f"{sys.argv[1]}/images/{split}", data=checked, augment=False, imgsz=64)
    for label in dataset.labels:
        name = label["im_file"].rsplit("/", 1)[1]
        labels[name] = [[int(c), *map(float, box)] for c, box in zip(label["cls"][:, 0], label["bboxes"])]
print(json.dumps({"names": checked["names"], "train": checked["train"], "val": checked["val"], "labels": labels}))
"""


def test_release_project__reads_back_with_ultralytics(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    # moved, since nothing in a release may depend on where it was made
    moved = tmp_path / "moved"
    shutil.copytree(release_folder(platform), moved)
    splits = sorted(set(_expected_splits().values()))
    # in a process of its own, since importing ultralytics changes Pillow for the whole process
    finished = subprocess.run(
        [sys.executable, "-c", _READ_WITH_ULTRALYTICS, str(moved), *splits],
        env=os.environ | {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["names"] == {"0": "person", "1": "bicycle"}
    assert found["train"] == str(moved / "images" / "train")
    assert len(found["labels"]) == 7
    assert sum(len(boxes) for boxes in found["labels"].values()) == 5
    ((class_index, *box),) = found["labels"]["files-aaa_000001.jpg"]
    assert class_index == 1
    assert box == pytest.approx([22 / 64, 18 / 48, 36 / 64, 24 / 48], abs=1e-6)
