"""Test exemplars, from files to boxes. The detector looks for the colour in the middle of an exemplar's boxes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.catalog.pending import project_basis
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, OutcomeStatus, RgbImage
from data_miner_dagster.operations import exemplars as exemplars_module
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.trial import try_detect
from data_miner_dagster.operations.exemplars import find_exemplars
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_models_and_classes, check_paths
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.operations.detection.planted_boxes import planted, table_bytes
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, ColourDetector, set_detection
from data_miner_dagster_tests.support.models import PlantedModels

RED, BLUE = (255, 0, 0), (0, 0, 255)


def takes_exemplars(_entry: object) -> None:
    """Return None, as the check of a detector that accepts exemplars does."""


class PictureDetector(ColourDetector):
    """Finds the colours named by phrases, and those in the middle of each exemplar's boxes."""

    exemplars = f"{__name__}:takes_exemplars"

    def __init__(self) -> None:
        super().__init__("pictures")
        self.shown: list[tuple[str, RgbImage]] = []

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return the boxes of each class's colours."""
        asked = []
        for wanted in classes:
            names = list(wanted.prompts[:1])
            for exemplar in wanted.exemplars:
                picture = exemplar.read()
                self.shown.append((wanted.class_name, picture))
                left, top, right, bottom = (
                    exemplar.boxes_xyxy[0] if exemplar.boxes_xyxy else (0, 0, *picture.shape[1::-1])
                )
                middle = picture[int(top + bottom) // 2, int(left + right) // 2]
                names = ["red" if np.abs(middle.astype(int) - RED).max() < 60 else "blue"]
            asked.append(replace(wanted, prompts=tuple(names)))
        return super().detect(images, asked, confidence_floor=confidence_floor)


class PicturedModels(PlantedModels):
    """Planted models whose detector may accept exemplars."""

    def _planted(self, model: Any, capability: Any) -> Any:
        role = super()._planted(model, capability)
        return replace(role, entry=replace(role.entry, exemplars=getattr(model, "exemplars", None)))


def picture(path: Path, colour: tuple[int, int, int], beside: tuple[int, int, int] | None = None) -> str:
    """Write a picture of one colour, with `beside` in its right half if given, and return its path."""
    pixels = np.full((24, 40, 3), colour, np.uint8)
    if beside is not None:
        pixels[:, 20:] = beside
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return [picture(tmp_path / "red.png", RED), picture(tmp_path / "both.png", RED, BLUE)]


def platform_with(root: Path, **detection: Any) -> Platform:
    """Return a platform with a project of red and blue shapes whose detector accepts exemplars."""
    platform = planted(root)
    platform.models = PicturedModels(detectors=[PictureDetector()])
    set_detection(platform, batch_size=2, **detection)
    return platform


def detector_of(platform: Platform) -> PictureDetector:
    detector = platform.models.detector.load()
    assert isinstance(detector, PictureDetector)
    return detector


def found_in(platform: Platform) -> list[tuple[str, str]]:
    table = read_table(platform.layout.detections_table(PROJECT), ["frame_id", "class_name"])
    return [(row["frame_id"], row["class_name"]) for row in table.to_pylist()]


def basis_of(platform: Platform) -> str:
    row = find_project(platform.database, PROJECT)
    assert row is not None
    return present_basis(platform, row)


def test_detect_project__several_pictures_and_classes(tmp_path: Path, images: list[str]) -> None:
    """Class "warm" has only an exemplar; class "cold" has a phrase and a box in another exemplar."""
    boxed = {"path": images[1], "boxes": [[22, 2, 38, 20]]}
    classes = {"warm": {"images": [images[0]]}, "cold": {"text": ["red"], "images": [boxed]}}
    platform = platform_with(tmp_path / "root", classes=classes)
    outcome = detect_project(platform, PROJECT)
    assert outcome.counts == {"frames": 4, "frames_with_boxes": 3, "boxes": 4, "boxes:warm": 2, "boxes:cold": 2}
    assert outcome.metadata["exemplars"] == f"warm: {images[0]}; cold: {images[1]}"
    detector = detector_of(platform)
    assert {name for name, _ in detector.shown} == {"warm", "cold"}
    np.testing.assert_array_equal(detector.shown[1][1][:, 20:], np.full((24, 20, 3), BLUE))
    before, seen = table_bytes(platform), len(detector.batch_sizes)
    assert detect_project(platform, PROJECT).status is OutcomeStatus.REUSED
    # Renaming an exemplar does not run the detector again, and the tables stay the same.
    Path(images[0]).rename(tmp_path / "other.png")
    set_detection(platform, batch_size=2, classes={**classes, "warm": {"images": [str(tmp_path / "other.png")]}})
    detect_project(platform, PROJECT)
    assert (table_bytes(platform), len(detector.batch_sizes)) == (before, seen)


def test_detect_project__other_bytes_or_boxes_look_again(tmp_path: Path, images: list[str]) -> None:
    platform = platform_with(tmp_path / "root", classes={"thing": {"images": images[:1]}})
    assert detect_project(platform, PROJECT).counts["boxes"] == 2
    red, basis = found_in(platform), basis_of(platform)
    picture(Path(images[0]), BLUE)
    assert basis_of(platform) != basis
    assert detect_project(platform, PROJECT).status is OutcomeStatus.DONE
    blue = found_in(platform)
    assert blue != red
    for box, expected in (([0, 0, 18, 24], red), ([22, 0, 40, 24], blue)):
        set_detection(platform, classes={"thing": {"images": [{"path": images[1], "boxes": [box]}]}})
        detect_project(platform, PROJECT)
        assert found_in(platform) == expected


def test_detect_project__pictures_that_are_refused(tmp_path: Path, images: list[str]) -> None:
    boxed = {"path": images[1], "boxes": [[2, 2, 41, 20]]}
    platform = platform_with(tmp_path / "root", classes={"thing": {"images": [boxed]}})
    with pytest.raises(ConfigError, match=r"the box \[2.0, 2.0, 41.0, 20.0\] of exemplar .*both.png extends beyond"):
        detect_project(platform, PROJECT)
    set_detection(platform, classes={"thing": {"images": images}})
    Path(images[1]).write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"detection: exemplar .*both.png cannot be read"):
        detect_project(platform, PROJECT)
    basis = basis_of(platform)
    Path(images[1]).unlink()
    assert basis_of(platform) != basis
    with pytest.raises(ConfigError, match=r"detection: exemplar .*both.png of 'thing' cannot be read \(No such file"):
        detect_project(platform, PROJECT)
    with pytest.raises(ConfigError, match=r"detection: exemplar .*both.png"):
        check_paths(platform.project_config(PROJECT), tmp_path)


@pytest.mark.usefixtures("images")
def test_find_exemplars__too_large_or_outside_of_what_a_watched_file_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DetectionConfig.model_validate({"classes": {"thing": {"images": ["red.png"]}}})
    assert [one.name for one in find_exemplars(config, tmp_path)["thing"]] == ["red.png"]
    with pytest.raises(ConfigError, match=r"detection: exemplar of 'thing': .*red.png is outside the folders"):
        find_exemplars(config, tmp_path, ProjectLimits(media_folders=(tmp_path / "allowed",)))
    monkeypatch.setattr(exemplars_module, "MAX_EXEMPLAR_BYTES", 10)
    with pytest.raises(ConfigError, match=r"detection: exemplar red.png of 'thing' is not a file, or is larger than"):
        find_exemplars(config, tmp_path)


def test_check_models_and_classes__a_detector_that_takes_no_pictures(tmp_path: Path, images: list[str]) -> None:
    platform = planted(tmp_path / "root")
    set_detection(platform, classes={"red": {"images": images[:1]}, "blue": []})
    for check in (
        lambda: check_models_and_classes(platform, platform.project_config(PROJECT)),
        lambda: detect_project(platform, PROJECT),
    ):
        with pytest.raises(ConfigError, match=r"'red' has `images`, but detector 'colours' does not accept exemplars"):
            check()
    platform.models = PlantedModels()
    with pytest.raises(
        ConfigError, match=r"'red' has `images`, but detector 'lite-yolov3-tiny' does not accept exemplars"
    ):
        check_models_and_classes(platform, platform.project_config(PROJECT))


def test_present_basis__without_pictures_of_classes_is_as_before(tmp_path: Path) -> None:
    platform = planted(tmp_path / "root")
    row = find_project(platform.database, PROJECT)
    assert row is not None
    models = fingerprint_of({"models": [role.fingerprint for role in platform.models.roles]})
    assert present_basis(platform, row) == project_basis(row, models=models)


@pytest.mark.usefixtures("images")
def test_try_detect__pictures_of_a_class_are_on_the_sheet(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "blue.png", BLUE)
    boxed = {"path": "both.png", "boxes": [[22, 2, 38, 20]]}
    config = DetectionConfig.model_validate({"classes": {"thing": {"images": ["red.png", boxed]}}})
    models = PicturedModels(detectors=[PictureDetector()])
    trial = try_detect(models, config, folder, threshold=0.1, exemplar_folder=tmp_path)
    assert [row.cells[2] for row in trial.rows] == ["thing 1.00"]
    assert [tile.caption for tile in trial.shown_first] == ["thing: red.png", "thing: both.png"]
    assert [[box.box_xyxy for box in tile.boxes] for tile in trial.shown_first] == [[], [(22, 2, 38, 20)]]
    with pytest.raises(ConfigError, match=r"'thing' has `images`, but detector 'colours' does not accept exemplars"):
        try_detect(PlantedModels(detectors=[ColourDetector()]), config, folder, threshold=0.1, exemplar_folder=tmp_path)
