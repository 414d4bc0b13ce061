"""Tests of crops. test_verification.py tests that the read-back finds each fault."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.export.codec import at_once
from data_miner_dagster.export.crops import CropsWriter, crop_corners, crop_file
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.support.releases import IMAGES, release_box, write_images, write_pictures

CORNERS: dict[str, tuple[tuple[float, float, float, float], tuple[int, int, int, int]]] = {
    "whole pixels": ((4.0, 6.0, 40.0, 30.0), (4, 6, 40, 30)),
    "parts of pixels, outwards": ((10.5, 8.25, 29.001, 46.999), (10, 8, 30, 47)),
    "the whole image": ((0.0, 0.0, 64.0, 48.0), (0, 0, 64, 48)),
    "less than a pixel": ((1.25, 2.0, 1.75, 2.5), (1, 2, 2, 3)),
}
FOLDERS = {
    "person": "000_person",
    "traffic light": "000_traffic_light",
    "a/b": "000_a_b",
    "../x": "000____x",
    "T-shirt": "000_T-shirt",
    "Fußgänger": "000_Fußgänger",
    "日" * 200: f"000_{'日' * 80}",
}


@pytest.mark.parametrize("case", CORNERS)
def test_crop_corners__hold_all_of_the_box(case: str) -> None:
    box_xyxy, corners = CORNERS[case]
    assert crop_corners(release_box(0, box_xyxy)) == corners


@pytest.mark.parametrize("class_name", FOLDERS)
def test_crop_file__class_names_are_free_text(class_name: str) -> None:
    box = replace(release_box(0, (0.0, 0.0, 8.0, 8.0)), class_name=class_name)
    image = replace(IMAGES[2], boxes=(box,))
    assert crop_file(Path("/out"), image, 0) == Path("/out/val", FOLDERS[class_name], "files-b_000000_000.jpg")


def test_crops_writer__a_picture_for_every_box(tmp_path: Path) -> None:
    write_pictures(tmp_path / "release")
    with StoredPictures(ExtractionConfig()) as pictures:
        write_images(CropsWriter(tmp_path / "out", tmp_path / "release", pictures, at_once))
    sizes = {}
    for path in sorted((tmp_path / "out").rglob("*.jpg")):
        with Image.open(path) as crop:
            sizes[path.relative_to(tmp_path / "out").as_posix()] = crop.size
    assert sizes == {
        "train/000_person/files-a_000000_000.jpg": (36, 24),
        "train/000_person/files-c_000001_000.jpg": (3, 3),
        "train/001_bicycle/files-a_000000_001.jpg": (20, 39),
        "val/001_bicycle/files-b_000000_000.jpg": (64, 48),
    }
    with (
        Image.open(tmp_path / "release" / "images" / IMAGES[0].file_name) as whole,
        Image.open(tmp_path / "out" / "train" / "000_person" / "files-a_000000_000.jpg") as crop,
    ):
        wanted = np.asarray(whole.crop((4, 6, 40, 30)), np.float64)
        assert np.abs(wanted - np.asarray(crop, np.float64)).mean() < 6


def test_crops_writer__each_crop_is_attempted_by_its_name(tmp_path: Path) -> None:
    write_pictures(tmp_path / "release")
    names: list[str] = []
    with StoredPictures(ExtractionConfig()) as pictures:
        write_images(
            CropsWriter(tmp_path / "out", tmp_path / "release", pictures, lambda name, _work: names.append(name))
        )
    assert names == ["files-a/000000 box 0", "files-a/000000 box 1", "files-b/000000 box 0", "files-c/000001 box 0"]
    assert not (tmp_path / "out").exists()
