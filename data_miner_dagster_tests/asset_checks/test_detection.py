import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.asset_checks.detection import boxes_lie_inside
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.faults import Rows, change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

MISPLACED, UNKNOWN, CONFIDENCE = "outside their frame or empty", "with an unknown class", "confidence outside 0 to 1"
MASKS = "not the bounds of their mask"
SOUND = {"boxes": 2, MISPLACED: 0, UNKNOWN: 0, CONFIDENCE: 0, MASKS: 0}
FAULTS: dict[str, tuple[str, Callable[[Rows], object]]] = {
    "left of the frame": (MISPLACED, lambda rows: rows[0].update(x_min=-0.5)),
    "above the frame": (MISPLACED, lambda rows: rows[0].update(y_min=-0.5)),
    "right of the frame": (MISPLACED, lambda rows: rows[0].update(x_max=64.5)),
    "below the frame": (MISPLACED, lambda rows: rows[0].update(y_max=48.5)),
    "no width": (MISPLACED, lambda rows: rows[0].update(x_min=40.0)),
    "no height": (MISPLACED, lambda rows: rows[0].update(y_min=30.0)),
    "corners swapped": (MISPLACED, lambda rows: rows[0].update(x_min=40.0, x_max=4.0)),
    "no number": (MISPLACED, lambda rows: rows[0].update(x_min=math.nan)),
    "of a frame that is not there": (MISPLACED, lambda rows: rows[0].update(frame_index=99)),
    "another class": (UNKNOWN, lambda rows: rows[0].update(class_name="unicorn")),
    "confidence above 1": (CONFIDENCE, lambda rows: rows[0].update(confidence=1.01)),
    "confidence below 0": (CONFIDENCE, lambda rows: rows[0].update(confidence=-0.01)),
    "confidence that is no number": (CONFIDENCE, lambda rows: rows[0].update(confidence=math.nan)),
    "mask of another box": (MASKS, lambda rows: rows[0].update(mask=Mask.of(np.eye(48, 64, dtype=bool)).as_coco())),
    "empty mask": (MASKS, lambda rows: rows[0].update(mask=Mask.of(np.zeros((48, 64), bool)).as_coco())),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose project has one frame of 64 by 48 pixels with two boxes, the second as large as the frame."""
    root = tmp_path_factory.mktemp("root")
    boxes = {0: [("bicycle", 0.9, (4.0, 6.0, 40.0, 30.0)), ("person", 1.0, (0.0, 0.0, 64.0, 48.0))]}
    build_project(root, videos=[SampleVideo("files-aaa", num_frames=1, boxes=boxes)])
    return root


@pytest.fixture
def detections(root: Path) -> Iterator[Path]:
    """The project's detection table, restored after the test."""
    path = StorageLayout(root).detections_table("cyclists")
    sound = path.read_bytes()
    yield path
    path.write_bytes(sound)


def test_boxes_lie_inside__passes(detections: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for num_boxes in (2, 0):
        found = run_check(boxes_lie_inside, root, "cyclists", monkeypatch)
        assert found.passed
        assert found.description is None
        assert figures_of(found) == SOUND | {"boxes": num_boxes}
        change_rows(detections, lambda rows: rows.clear())


@pytest.mark.parametrize("fault", FAULTS)
def test_boxes_lie_inside__fails_and_says_why(
    detections: Path, root: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    figure, change = FAULTS[fault]
    change_rows(detections, change)
    found = run_check(boxes_lie_inside, root, "cyclists", monkeypatch)
    assert not found.passed
    assert figures_of(found) == SOUND | {figure: 1}
    lines = {
        MISPLACED: ": 1 outside their frame, empty or without a frame",
        UNKNOWN: ", 1 of a class that the project does not have",
        CONFIDENCE: ", 1 with a confidence outside 0 to 1",
        MASKS: ", 1 with a mask that does not fit the box or is empty",
    }
    assert lines[figure] in str(found.description)
    assert "`data-miner force-detect PROJECT`" in str(found.description)
