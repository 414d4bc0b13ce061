"""Masks of the detections table, written in each format and read back with the format's own library."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from data_miner_dagster.domain.masks import Mask, MaskPixels
from data_miner_dagster.domain.verdicts import FramePlace, VerdictWord
from data_miner_dagster.export.coco import read_coco
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import ReleaseTally
from data_miner_dagster.export.verification import release_problems
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.labelling import Labelling, VerdictsByFrame
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import release_header
from data_miner_dagster_tests.export.faults.coco import in_json
from data_miner_dagster_tests.export.faults.planting import Fault, in_text
from data_miner_dagster_tests.operations.releasing.release_folders import release_folder
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.releases import OF_TRACKS
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project, project_config
from data_miner_dagster_tests.support.verdicts import box_verdict

WH = (64, 48)
PYCOCOTOOLS = "ignore:__array__ implementation:DeprecationWarning"
"""pytest filter for a warning that `decode` of pycocotools 2.0.11 causes with numpy 2."""


def drawn(*rectangles: tuple[int, int, int, int]) -> MaskPixels:
    pixels = np.zeros((WH[1], WH[0]), bool)
    for left, top, right, bottom in rectangles:
        pixels[top:bottom, left:right] = True
    return pixels


MASKS: dict[str, MaskPixels | None] = {
    "whole image": drawn((0, 0, 64, 48)),
    "hole": drawn((4, 4, 30, 30)) & ~drawn((10, 10, 20, 18)),
    "parts": drawn((0, 30, 20, 48), (22, 30, 44, 48)),
    "border": drawn((50, 0, 64, 20)),
    "pixel": drawn((47, 25, 48, 26)),
    "none": None,
}
"""Masks in the order of their boxes' confidence, highest first. The last box has no mask."""


def bounds_of(pixels: MaskPixels | None) -> tuple[float, float, float, float]:
    bounds = (3.0, 5.5, 20.0, 40.0) if pixels is None else Mask.of(pixels).bounds_xyxy
    assert bounds is not None
    return bounds


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a platform with a release of one frame, which has a box for each entry of `MASKS`."""
    boxes = [("bicycle", 0.95 - 0.05 * row, bounds_of(pixels)) for row, pixels in enumerate(MASKS.values())]
    videos = [SampleVideo("files-aaa", 1, boxes={0: boxes})]
    platform = build_project(tmp_path_factory.mktemp("root"), videos=videos, releasing={"splits": {"train": 1.0}})

    def give_masks(rows: list[dict[str, object]]) -> None:
        for row, pixels in zip(rows, MASKS.values(), strict=True):
            row["mask"] = Mask.of(pixels).as_coco() if pixels is not None else None

    change_rows(platform.layout.detections_table("cyclists"), give_masks)
    release_project(platform, "cyclists")
    return platform


@pytest.mark.filterwarnings(PYCOCOTOOLS)
def test_release_project__masks_read_back_with_pycocotools(platform: Platform) -> None:
    coco = read_coco(release_folder(platform) / "annotations" / "instances_train.json")
    annotations = coco.loadAnns(coco.getAnnIds())
    for annotation, (name, pixels) in zip(annotations, MASKS.items(), strict=True):
        left, top, width, height = annotation["bbox"]
        np.testing.assert_allclose((left, top, left + width, top + height), bounds_of(pixels), atol=1)
        if pixels is None:
            assert annotation["segmentation"] == []
            continue
        assert isinstance(annotation["segmentation"], dict) == (name == "hole")
        assert iou(coco.annToMask(annotation).astype(bool), pixels) >= 0.99
        assert annotation["area"] == pixels.sum()


def iou(one: MaskPixels, other: MaskPixels) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.filterwarnings(PYCOCOTOOLS)
def test_release_project__masks_read_back_with_pandas(platform: Platform) -> None:
    boxes = pd.read_parquet(release_folder(platform) / "data" / "boxes.parquet")
    for mask, pixels in zip(boxes["mask"], MASKS.values(), strict=True):
        if pixels is None:
            assert mask is None
        else:
            np.testing.assert_array_equal(coco_masks.decode(mask).astype(bool), pixels)


_READ_WITH_ULTRALYTICS = """
import json, sys
import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

checked = check_det_dataset(sys.argv[1] + "/data.yaml", autodownload=False)
settings = get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False})
dataset = YOLODataset(
    f"{sys.argv[1]}/images/train", data=checked, augment=False, imgsz=64, hyp=settings, task="segment"
)
found = dataset[0]
np.save(sys.argv[2], found["masks"].numpy())
print(json.dumps({"classes": found["cls"][:, 0].tolist(), "boxes": found["bboxes"].tolist()}))
"""


def test_release_project__masks_read_back_with_ultralytics(platform: Platform, tmp_path: Path) -> None:
    # in a separate process, because importing ultralytics changes Pillow globally
    finished = subprocess.run(
        [sys.executable, "-c", _READ_WITH_ULTRALYTICS, str(release_folder(platform)), str(tmp_path / "masks.npy")],
        env=os.environ | {"YOLO_CONFIG_DIR": str(tmp_path), "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"},
        check=True,
        capture_output=True,
        text=True,
    )
    read = json.loads(finished.stdout.splitlines()[-1])
    masks = np.load(tmp_path / "masks.npy")[:, 8:56].astype(bool)  # the 64 x 48 image is centred in a 64 x 64 square
    assert read["classes"] == [1] * len(MASKS)
    for mask, (x, y, width, height), pixels in zip(masks, read["boxes"], MASKS.values(), strict=True):
        left, top, right, bottom = bounds_of(pixels)
        if pixels is None:  # the polygon is the box's rectangle
            pixels = drawn((int(left), int(top), int(right), int(bottom)))
        assert iou(mask, pixels) >= 0.99
        edges = [64 * (x - width / 2), 64 * (y - height / 2) - 8, 64 * (x + width / 2), 64 * (y + height / 2) - 8]
        np.testing.assert_allclose(edges, [left, top, right, bottom], atol=1)


def test_export_release__crops_have_the_mask_as_alpha(platform: Platform, tmp_path: Path) -> None:
    export_release(platform, "cyclists", format="crops", to=tmp_path / "crops")
    paths = sorted((tmp_path / "crops" / "train" / "001_bicycle").iterdir())
    assert [path.suffix for path in paths] == [".png"] * 5 + [".jpg"]
    for path, pixels in zip(paths[:5], list(MASKS.values())[:5], strict=True):
        assert pixels is not None
        left, top, right, bottom = map(int, bounds_of(pixels))
        with Image.open(path) as crop:
            np.testing.assert_array_equal(np.asarray(crop.getchannel("A")) > 0, pixels[top:bottom, left:right])
            assert crop.mode == "RGBA"


@pytest.mark.parametrize("format", sorted({*EXPORT_FORMATS} - {*OF_TRACKS}))
def test_export_release__every_format_reads_back(platform: Platform, format: str, tmp_path: Path) -> None:
    outcome = export_release(platform, "cyclists", format=format, to=tmp_path / "export")
    assert (outcome.num_images, outcome.num_boxes) == (1, len(MASKS))


def test_release_project__no_masks_no_column(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    assert "mask" not in pq.read_schema(release_folder(platform) / "data" / "boxes.parquet").names
    assert "mask" not in pq.read_schema(release_folder(platform) / "data" / "images.parquet").names
    labels = (release_folder(platform) / "labels").rglob("*.txt")
    assert {len(line.split()) for path in labels for line in path.read_text().splitlines()} == {5}


SHOWN = ("bicycle", (0.25, 0.25, 0.5, 0.5))
VERDICTS: Mapping[str, tuple[VerdictWord, dict[str, object], bool]] = {
    "right": (VerdictWord.RIGHT, {}, True),
    "another class": (VerdictWord.OTHER_CLASS, {"new_class_name": "person"}, True),
    "moved by less than a pixel": (VerdictWord.SHIFTED, {"new_box": (0.26, 0.25, 0.5, 0.5)}, True),
    "moved": (VerdictWord.SHIFTED, {"new_box": (0.2, 0.25, 0.5, 0.5)}, False),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_label__a_box_that_a_person_moved_loses_its_mask(name: str) -> None:
    word, changes, keeps = VERDICTS[name]
    mask = Mask.of(drawn((16, 12, 32, 24)))
    row = {
        "class_name": "bicycle",
        "prompt": "a bicycle",
        "confidence": 0.9,
        "x_min": 16.0,
        "y_min": 12.0,
        "x_max": 32.0,
        "y_max": 24.0,
        "detector": "lite",
        "num_agreeing_detectors": 1,
        "mask": mask.as_coco(),
    }
    verdict = box_verdict("files-aaa/000000", 0.0, word, SHOWN, **changes)
    labelling = Labelling(project_config("cyclists"), VerdictsByFrame([verdict]))
    (box,) = labelling.label(FramePlace("files-aaa", 0.0), WH, [row]).boxes
    assert box.verdict == word
    assert box.mask == (mask if keeps else None)


FAULTS: Mapping[str, Fault] = {
    "another mask in COCO": (
        in_json("train", lambda of: of["annotations"][1].update(segmentation=of["annotations"][0]["segmentation"])),
        "the segmentation of a box has an IoU of only 0",
    ),
    "area of the box": (
        in_json("all", lambda of: of["annotations"][1].update(area=676)),
        "a box has the area 676, but its mask has 596 pixels",
    ),
    "a mask where there is none": (
        in_json("all", lambda of: of["annotations"][5].update(segmentation=of["annotations"][0]["segmentation"])),
        "a box without a mask has a segmentation",
    ),
    "a polygon that is not the mask's": (
        in_text("labels/train/files-aaa_000000.txt", "0.999583", "0.5"),
        "the polygon of the box at (0.0, 0.0, 64.0, 48.0) differs from the release",
    ),
    "a box in place of a polygon": (
        lambda folder: (folder / "labels/train/files-aaa_000000.txt").write_text("1 0.5 0.5 0.1 0.1\n"),
        "has fewer than 3 points, or points outside the image",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_release_problems__a_planted_fault(platform: Platform, tmp_path: Path, fault: str) -> None:
    plant, expected = FAULTS[fault]
    release = shutil.copytree(release_folder(platform), tmp_path / "release")
    header = release_header(release)
    tally = ReleaseTally.of(header)
    for image in read_images(release):
        tally.add(image)
    assert release_problems(release, header, tally) == []
    plant(release)
    problems = release_problems(release, header, tally)
    assert any(expected in problem for problem in problems), problems
