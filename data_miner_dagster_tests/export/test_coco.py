"""Tests of COCO files, character by character. test_verification.py tests that the read-back finds each fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.export.coco import CocoWriter, annotation_file, read_coco
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster_tests.support.releases import HEADER, IMAGES, release_image, write_images

EMPTY = """{"info": {"description": "cyclists v001", "version": "v001"},
"licenses": [],
"categories": [{"id": 1, "name": "person", "supercategory": ""}, {"id": 2, "name": "bicycle", "supercategory": ""}],
"images": [
],
"annotations": [
]}
"""
BOXES: dict[str, tuple[tuple[float, float, float, float], list[float], float]] = {
    "whole pixels": ((4.0, 6.0, 40.0, 30.0), [4.0, 6.0, 36.0, 24.0], 864.0),
    "parts of pixels": ((10.5, 8.25, 30.0, 47.0), [10.5, 8.25, 19.5, 38.75], 755.625),
    "the whole image": ((0.0, 0.0, 64.0, 48.0), [0.0, 0.0, 64.0, 48.0], 3072.0),
    "a difference that floats cannot say": ((0.1, 0.1, 0.3, 0.4), [0.1, 0.1, 0.2, 0.3], 0.06),
}


def written(folder: Path, *images: ReleaseImage) -> dict[str, Any]:
    """Write images, and return the content of every COCO file by split."""
    write_images(CocoWriter(folder, HEADER), images)
    return {split: json.loads(annotation_file(folder, split).read_text()) for split in (*HEADER.splits, "all")}


def test_coco_writer__no_images(tmp_path: Path) -> None:
    written(tmp_path)
    names = sorted(path.name for path in (tmp_path / "annotations").iterdir())
    assert names == [f"instances_{split}.json" for split in ("all", "test", "train", "val")]
    assert all(annotation_file(tmp_path, split).read_text() == EMPTY for split in ("train", "val", "test", "all"))


@pytest.mark.parametrize("case", BOXES)
def test_coco_writer__boxes(tmp_path: Path, case: str) -> None:
    corners, bbox, area = BOXES[case]
    content = written(tmp_path, release_image(1, "val", "files-a", 0, (1, corners)))
    assert content["val"] == content["all"]
    assert content["val"]["annotations"] == [
        {
            "id": 1,
            "image_id": 1,
            "category_id": 2,
            "bbox": bbox,
            "area": area,
            "iscrowd": 0,
            "segmentation": [],
            "confidence": 0.5,
            "prompt": "a bicycle",
            "detector": "lite",
            "num_agreeing_detectors": 1,
        }
    ]


def test_coco_writer__images(tmp_path: Path) -> None:
    content = written(tmp_path, release_image(7, "train", "files-ü", 3, num_duplicates=2))
    assert content["train"]["images"] == [
        {
            "id": 7,
            "file_name": "train/files-ü_000003.jpg",
            "width": 64,
            "height": 48,
            "split": "train",
            "frame_id": "files-ü/000003",
            "video_key": "files-ü",
            "video_url": "https://videos.example/files-ü",
            "pts_seconds": 3.0,
            "similarity": 0.75,
            "similar_prompt": "a bicycle",
            "num_duplicates": 2,
        }
    ]
    assert "files-ü" in annotation_file(tmp_path, "train").read_text(encoding="utf-8")


def test_coco_writer__ids_are_those_of_the_whole_release_in_every_file(tmp_path: Path) -> None:
    content = written(tmp_path, *IMAGES)
    assert {split: [image["id"] for image in content[split]["images"]] for split in content} == {
        "train": [1, 2, 4],
        "val": [3],
        "test": [],
        "all": [1, 2, 3, 4],
    }
    labels = {
        split: [(row["id"], row["image_id"], row["category_id"]) for row in content[split]["annotations"]]
        for split in content
    }
    whole = [(1, 1, 1), (2, 1, 2), (3, 3, 2), (4, 4, 1)]
    assert labels == {"train": [whole[0], whole[1], whole[3]], "val": [whole[2]], "test": [], "all": whole}


def test_read_coco__by_the_format_s_own_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(CocoWriter(tmp_path, HEADER))
    coco = read_coco(annotation_file(tmp_path, "all"))
    assert sorted(coco.getImgIds()) == [1, 2, 3, 4]
    assert coco.getAnnIds(imgIds=[1]) == [1, 2]
    assert capsys.readouterr().out == ""
