"""Test counting boxes. asset_checks/test_detection.py tests how the asset check reports each fault."""

from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.errors import NotReadyError
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.operations.detection.check import BoxCounts, check_boxes
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

WHOLE = (0.0, 0.0, 64.0, 48.0)
VIDEOS = (
    SampleVideo("files-aaa", 2, boxes={0: [("person", 0.5, WHOLE)], 1: [("bicycle", 1.0, WHOLE)]}),
    SampleVideo("files-bbb", 1, boxes={0: [("person", 0.0, (1.0, 2.0, 1.5, 2.5))]}),
)


def test_check_boxes__not_looked_at_yet(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=VIDEOS, through="deduplication")
    with pytest.raises(NotReadyError, match="has no detections yet"):
        check_boxes(platform, "cyclists")


def test_check_boxes__no_boxes(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=[SampleVideo("files-aaa", 2)])
    assert check_boxes(platform, "cyclists") == BoxCounts(0, 0, 0, 0)


def test_check_boxes__of_all_videos(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=VIDEOS)
    assert check_boxes(platform, "cyclists") == BoxCounts(3, 0, 0, 0)
    assert check_boxes(platform, "cyclists").holds


def test_check_boxes__masks_within_a_pixel_of_their_boxes(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=VIDEOS)
    pixels = np.zeros((48, 64), bool)
    pixels[1:48, 0:63] = True
    change_rows(
        platform.layout.detections_table("cyclists"), lambda rows: rows[0].update(mask=Mask.of(pixels).as_coco())
    )
    assert check_boxes(platform, "cyclists") == BoxCounts(3, 0, 0, 0)


def test_check_boxes__says_what_is_wrong_each_fault_by_itself(tmp_path: Path) -> None:
    platform = build_project(tmp_path, videos=VIDEOS)
    change_rows(
        platform.layout.detections_table("cyclists"),
        lambda rows: (
            rows[0].update(x_max=65.0, class_name="unicorn"),
            rows[1].update(class_name="tram"),
            rows[2].update(confidence=1.5, x_max=1.0, mask=Mask.of(np.eye(48, 64, dtype=bool)).as_coco()),
        ),
    )
    found = check_boxes(platform, "cyclists")
    assert found == BoxCounts(
        num_boxes=3, num_misplaced=2, num_unknown_class=2, num_bad_confidence=1, num_wrong_masks=1
    )
    assert not found.holds
    assert found.description == (
        "3 boxes: 2 outside their frame, empty or without a frame, 2 of a class that the project does not have, 1 with "
        "a confidence outside 0 to 1, 1 with a mask that does not fit the box or is empty; "
        "`data-miner force-detect PROJECT` recreates all boxes"
    )
