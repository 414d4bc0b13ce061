"""Test frames on which detection meets a fault, and detectors that fail on every frame."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_miner_dagster.domain.errors import SystematicFaultError
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.media.foreign_pictures import see_picture
from data_miner_dagster.media.images import read_stored_image
from data_miner_dagster.operations.detection import deciding
from data_miner_dagster.operations.detection.detect_project import detect_project, faults_by_frame
from data_miner_dagster.operations.left_out import read_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.stages.detection.boxes import FrameDetections
from data_miner_dagster_tests.operations.detection.planted_boxes import BLUE, planted, stage
from data_miner_dagster_tests.support.coloured_shapes import (
    PROJECT,
    ColourDetector,
    plant_deduplicated,
    plant_frames,
    platform_of,
    set_detection,
)


def test_detect_project__goes_on_without_the_frames_that_a_fault_meets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    set_detection(platform, batch_size=4)
    refused = see_picture(platform.layout.frame_path("files-a", "000001.jpg").read_bytes(), max_pixels=10_000)

    def detect(images: Sequence[RgbImage], *arguments: Any, **named: Any) -> list[ImageDetections]:
        if any(np.array_equal(image, refused) for image in images):
            raise ZeroDivisionError("of the detector")
        return ColourDetector.detect(detector, images, *arguments, **named)

    def read(path: Path, sha256: str) -> RgbImage:
        if path.parent.name == "files-b":
            raise ZeroDivisionError("of the decoder")
        return read_stored_image(path, sha256)

    with monkeypatch.context() as patched:
        patched.setattr(detector, "detect", detect)
        patched.setattr("data_miner_dagster.operations.foreign.stored_pictures.read_stored_image", read)
        counts = detect_project(platform, PROJECT).counts

    assert (counts["frames"], counts["unreadable_frames"], counts["left_out_videos"]) == (2, 2, 1)
    left_out = read_left_out(platform.layout.detected_frames_table(PROJECT))
    assert list(left_out) == ["files-b"]
    assert re.fullmatch(
        r"ZeroDivisionError: of the decoder \(operations/foreign/stored_pictures.py:\d+\)", left_out["files-b"]
    )
    assert detect_project(platform, PROJECT).counts["frames"] == 4


def _with_a_box(answer: ImageDetections, box: Sequence[float], class_index: int) -> ImageDetections:
    return ImageDetections(
        np.concatenate([answer.boxes_xyxy, np.array([box], np.float32)]),
        np.append(answer.confidences, np.float32(0.5)),
        np.append(answer.class_indices, np.int32(class_index)),
        (*answer.prompts, "odd"),
    )


class _OddAtRedAndBlue(ColourDetector):
    """Gives an odd answer for the only picture with both colours."""

    def __init__(self, make_odd: Callable[[ImageDetections], list[ImageDetections]]) -> None:
        super().__init__()
        self.make_odd = make_odd

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        answers = super().detect(images, classes, confidence_floor=confidence_floor)
        return [odd for answer in answers for odd in (self.make_odd(answer) if len(answer.prompts) == 2 else [answer])]


@pytest.mark.parametrize("tiling", [None, {"side": 64}])
@pytest.mark.parametrize(
    ("make_odd", "line"),
    [
        (
            lambda answer: [_with_a_box(answer, (0, 0, np.nan, 9), 0)],
            r"ValueError: .* with the coordinates \[.*nan.*\] and the confidence 0.5, but .* finite numbers; .* \(.*\)",
        ),
        (
            lambda answer: [_with_a_box(answer, (0, 0, 9, 9), -1)],
            r"ValueError: .* a box of class -1, .* is 2; .* \(.*\)",
        ),
        (lambda _answer: [], r"ValueError: .* \(.*\)"),
        (lambda _answer: 1 // 0, r"ZeroDivisionError: integer division or modulo by zero \(.*\)"),
    ],
    ids=["no number", "no class", "no answer", "raises"],
)
def test_detect_project__an_odd_box_or_tile_is_its_frame_s_outcome(
    tmp_path: Path,
    make_odd: Callable[[ImageDetections], list[ImageDetections]],
    line: str,
    tiling: dict[str, int] | None,
) -> None:
    platform = planted(tmp_path, _OddAtRedAndBlue(make_odd))
    set_detection(platform, batch_size=4, tiling=tiling)
    _assert_without_red_and_blue(platform, line)

    assert detect_project(platform_of(tmp_path), PROJECT).counts["frames"] == 4


@pytest.mark.parametrize("boundary", ["suppress", "detection_rows"])
def test_detect_project__what_is_decided_of_a_frame_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    platform = planted(tmp_path)
    decide = getattr(deciding, boundary)

    def raising(*arguments: Any, **named: Any) -> Any:
        if any(isinstance(item, FrameDetections) and len(item.detections.prompts) == 2 for item in arguments):
            raise ZeroDivisionError("planted")
        return decide(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(deciding, boundary, raising)
        _assert_without_red_and_blue(platform, r"ZeroDivisionError: planted \(operations/detection/deciding\.py:\d+\)")
    assert detect_project(platform, PROJECT).counts["frames"] == 4


def _assert_without_red_and_blue(platform: Platform, line: str) -> None:
    counts = detect_project(platform, PROJECT).counts
    assert (counts["frames"], counts["unreadable_frames"], counts["boxes"]) == (3, 1, 2)
    assert "left_out_videos" not in counts
    ((frame_id, said),) = faults_by_frame(platform.layout.detected_frames_table(PROJECT)).items()
    assert frame_id == "files-a/000001"
    assert re.fullmatch(line, said)
    assert project_funnel(platform, PROJECT)[FunnelStep.DETECTED].lost == {"internal_error": 1}


def test_detect_project__a_detector_that_refuses_all_fails_the_project(tmp_path: Path) -> None:
    detector = ColourDetector()
    platform = planted(tmp_path, detector)
    detector.dies_at_batch = 0
    for key in ("files-c", "files-d", "files-e"):
        plant_frames(platform, key, [[BLUE]])
    plant_deduplicated(platform, {key: [0] for key in ("files-c", "files-d", "files-e")}, duplicates={})
    with pytest.raises(SystematicFaultError, match=r"all 3 items .*RuntimeError: the machine lost power"):
        detect_project(platform, PROJECT)
    assert stage(platform) is ProjectStage.FAILED
