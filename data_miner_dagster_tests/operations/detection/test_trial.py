from pathlib import Path

import pytest

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.media.contact_sheets import Verdict
from data_miner_dagster.operations.detection.trial import try_detect
from data_miner_dagster_tests.support.coloured_shapes import ColourDetector, jpeg_of
from data_miner_dagster_tests.support.models import PlantedModels

CONFIG = DetectionConfig.model_validate({"classes": {"red": [], "sea": ["blue"]}, "batch_size": 2})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.jpg").write_bytes(jpeg_of([("red", (8, 8, 23, 31)), ("blue", (40, 16, 55, 23))]))
    (tmp_path / "c.jpg").write_bytes(jpeg_of([]))
    (tmp_path / "a.jpg").write_bytes(jpeg_of([("red", (0, 0, 31, 47))]))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    return tmp_path


def test_try_detect__empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contain an image"):
        try_detect(PlantedModels(detectors=[ColourDetector()]), CONFIG, tmp_path, threshold=0.1)


def test_try_detect__boxes_by_path(folder: Path) -> None:
    trial = try_detect(PlantedModels(detectors=[ColourDetector()]), CONFIG, folder, threshold=0.1)
    assert trial.columns == ("boxes", "best", "found")
    assert [(row.path.name, row.cells[:2]) for row in trial.rows] == [
        ("a.jpg", ("1", "0.50")),
        ("b.jpg", ("1", "0.12")),
        ("broken.jpg", ("unreadable", "")),
        ("c.jpg", ("0", "")),
    ]
    assert trial.rows[0].boxes[0].box_xyxy == (0, 0, 32, 48)
    assert "cannot be read" in trial.rows[2].cells[2]
    assert [row.verdict for row in trial.rows[2:]] == [Verdict.DROPPED, Verdict.NEUTRAL]
    assert trial.summary == "4 images, 2 with boxes: 2 red, 0 sea; 1 unreadable"


def test_try_detect__masks_are_drawn(folder: Path) -> None:
    models = PlantedModels(detectors=[ColourDetector(gives_masks=True)])
    trial = try_detect(models, CONFIG, folder, threshold=0.1, limit=1)
    (box,) = trial.rows[0].boxes
    assert box.mask is not None
    assert box.mask.bounds_xyxy == (0, 0, 32, 48)


def test_try_detect__lower_threshold_and_limit(folder: Path) -> None:
    trial = try_detect(PlantedModels(detectors=[ColourDetector()]), CONFIG, folder, threshold=0.05, limit=2)
    assert [row.cells[2] for row in trial.rows] == ["red 0.50", "red 0.12"]
    config = CONFIG.model_copy(update={"confidence_floor": 0.01})
    trial = try_detect(PlantedModels(detectors=[ColourDetector()]), config, folder, threshold=0.01, limit=2)
    assert trial.rows[1].cells[2] == "red 0.12, sea 0.04"


def test_try_detect__ensemble(folder: Path) -> None:
    models = PlantedModels(detectors=[ColourDetector("one"), ColourDetector("two", fingerprint="2")])
    config = CONFIG.model_copy(update={"detectors": ("one", "two")})
    trial = try_detect(models, config, folder, threshold=0.1, limit=1)
    assert trial.title == "detect with one + two, confidence at or above 0.1"
    assert trial.rows[0].cells == ("1", "0.50", "red 0.50")
