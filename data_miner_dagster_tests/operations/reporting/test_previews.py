from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.media.contact_sheets import Verdict
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.previews import (
    Preview,
    dataset_preview,
    deduplication_preview,
    detection_tiles,
    detections_preview,
    dropped_tiles,
    duplicate_tiles,
    filtering_preview,
    frames_preview,
    kept_tiles,
)
from data_miner_dagster_tests.support.faults import change_rows
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

PROJECT_PREVIEWS: tuple[Callable[[Platform, str], Preview | None], ...] = (
    filtering_preview,
    deduplication_preview,
    detections_preview,
    dataset_preview,
)


@pytest.mark.parametrize("preview", PROJECT_PREVIEWS)
def test_previews__nothing_yet(tmp_path: Path, preview: Callable[[Platform, str], Preview | None]) -> None:
    assert preview(build_project(tmp_path, through="sourcing"), "cyclists") is None


@pytest.mark.parametrize("preview", PROJECT_PREVIEWS)
def test_previews__empty_tables(tmp_path: Path, preview: Callable[[Platform, str], Preview | None]) -> None:
    assert preview(build_project(tmp_path, videos=()), "cyclists") is None


@pytest.mark.parametrize("preview", PROJECT_PREVIEWS)
def test_previews__are_small_and_repeat(tmp_path: Path, preview: Callable[[Platform, str], Preview | None]) -> None:
    platform = build_project(tmp_path)
    shown = preview(platform, "cyclists")
    assert shown is not None
    assert len(shown.sheet) <= 44_000
    assert shown == preview(platform, "cyclists")


def test_frames_preview__marks_flagged_frames(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="extraction")
    shown = frames_preview(platform, "files-aaa")
    assert shown is not None
    assert shown.num_shown == 5
    assert frames_preview(platform, "files-ddd") is None


def test_kept_and_dropped_tiles__say_why(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    kept = kept_tiles(platform, platform.project_config("cyclists"), 6)
    assert [tile.caption for tile in kept[:2]] == ["0.90 a person", "0.90 a person"]
    assert len(kept) == 6
    assert len({tile.image for tile in kept}) == 6
    dropped = dropped_tiles(platform, "cyclists", 6)
    assert [tile.caption for tile in dropped] == ["0.20 not similar enough to the prompts", "0.40 black", "0.35 junk"]
    assert all(isinstance(tile.image, PictureFile) and tile.image.path.is_file() for tile in [*kept, *dropped])


def test_duplicate_tiles__one_row_a_group(tmp_path: Path) -> None:
    video = SampleVideo(
        "files-aaa",
        num_frames=5,
        duplicates={
            1: ("files-aaa/000000", "exact"),
            2: ("files-aaa/000000", "exact"),
            4: ("files-aaa/000003", "exact"),
        },
    )
    tiles = duplicate_tiles(build_project(tmp_path, videos=[video]), "cyclists", 12)
    assert [tile.verdict for tile in tiles] == [
        Verdict.KEPT,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
        Verdict.NEUTRAL,  # an empty slot
        Verdict.KEPT,
        Verdict.DUPLICATE,
    ]
    assert tiles[3].image is None
    assert tiles[0].caption == "kept for 2 more"
    assert tiles[1].caption == "0.950 exact copy"


def test_detection_tiles__classes_in_turn_with_boxes_at_threshold(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    tiles = detection_tiles(platform, platform.project_config("cyclists"), 3)
    assert [tile.detail for tile in tiles] == ["files-aaa/000001", "files-bbb/000001", "files-ccc/000000"]
    assert [tile.caption for tile in tiles] == ["1 bicycle", "2 person", "1 bicycle"]
    assert [box.label for box in tiles[0].boxes] == ["bicycle 0.90"]
    assert [(box.label, box.class_index) for box in tiles[1].boxes] == [("person 0.70", 0), ("person 0.30", 0)]


def test_detection_tiles__with_masks(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    mask = Mask.of(np.ones((48, 64), bool))
    change_rows(
        platform.layout.detections_table("cyclists"),
        lambda rows: [row.update(mask=mask.as_coco()) for row in rows if row["confidence"] > 0.6],
    )
    tiles = detection_tiles(platform, platform.project_config("cyclists"), 3)
    assert [box.mask for box in tiles[1].boxes] == [mask, None]  # persons at .7 and .3
