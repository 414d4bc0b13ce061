"""Follow `How to add a detector or an encoder` to add `middle`, which finds an object in the middle of each picture."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

NEW_FILES: Final = {
    "models/detectors/middle.py": '''
"""A detector that finds a subject in the middle of every picture."""

from collections.abc import Sequence

import numpy as np

from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.models.boxes import detections_from_candidates
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.vocabulary import match_vocabulary


class MiddleDetector:
    """Implements ObjectDetector."""

    def __init__(self, *, name: str, fingerprint: str) -> None:
        self.name = name
        self.fingerprint = fingerprint

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return one box an image, of half its width and height."""
        ((class_index, phrase),) = match_vocabulary(["subject"], classes, detector=self.name).values()
        num_boxes = int(confidence_floor <= 0.75)
        return [
            detections_from_candidates(
                np.full((num_boxes, 4), [width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32),
                np.full(num_boxes, 0.75, np.float32),
                np.full(num_boxes, class_index, np.int32),
                [phrase] * num_boxes,
                image_wh=(width, height),
                nms_iou=None,
            )
            for height, width in (image.shape[:2] for image in images)
        ]


def load(entry: ModelEntry, device: str) -> MiddleDetector:
    """Load an entry of architecture `middle`."""
    return MiddleDetector(name=entry.name, fingerprint=entry.fingerprint)


def class_names(entry: ModelEntry) -> tuple[str, ...]:
    """Return the one name it knows."""
    return ("subject",)
''',
}
CHANGES: Final = {
    "models/architectures.py": {
        '    "owlv2": Architecture(': (
            '    "middle": Architecture(\n'
            "        Capability.DETECTOR,\n"
            '        f"{_MODELS}.detectors.middle:load",\n'
            '        class_names=f"{_MODELS}.detectors.middle:class_names",\n'
            "    ),\n"
            '    "owlv2": Architecture('
        ),
    },
    "models/registry.py": {
        '        _packaged("lite-yolov3-tiny"': (
            '        _packaged("middle-1", "middle", "CC0-1.0"),\n        _packaged("lite-yolov3-tiny"'
        ),
    },
}

USED: Final = """
import pytest
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.models.detectors.detector_contract import assert_keeps_contract
from data_miner_dagster_tests.support.sample_project import build_project

detection = {"classes": {"rider": ["a subject"]}, "detectors": ["middle-1"]}
platform = build_project(tmp_path / "root", through="deduplication", detection=detection)
detector = platform.models.detectors(["middle-1"])[0].load()
assert_keeps_contract(detector, [ClassPrompts("rider", ("a subject",))])
made = detect_project(platform, "cyclists")
assert made.counts == {"frames": 7, "frames_with_boxes": 7, "boxes": 7, "boxes:rider": 7}, made.counts
boxes = read_table(platform.layout.detections_table("cyclists")).to_pylist()
assert {(box["class_name"], box["prompt"], box["detector"]) for box in boxes} == {("rider", "a subject", "middle-1")}
assert {(box["x_min"], box["y_min"], box["x_max"], box["y_max"]) for box in boxes} == {(16.0, 12.0, 48.0, 36.0)}
assert {box["confidence"] for box in boxes} == {0.75}
assert detect_project(platform, "cyclists").status.value == "reused"

build_project(tmp_path / "root", name="others", through="deduplication", detection=detection | {"classes": {"car": []}})
with pytest.raises(ConfigError, match="'car' is not one of them"):
    detect_project(platform, "others")
told = CliRunner().invoke(app, ["models", "list"]).output
assert "middle-1" in told, told
"""


@pytest.mark.slow
def test_recipe_of_a_detector__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, NEW_FILES, CHANGES, USED)


def test_recipe_of_a_detector__names_every_file() -> None:
    assert unnamed_files("How to add a detector or an encoder", CHANGES) == []
