"""Two deduplicated videos of red and blue shapes, for a detector of colours."""

from pathlib import Path

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.coloured_shapes import (
    PROJECT,
    ColourDetector,
    Shape,
    plant_deduplicated,
    plant_frames,
    plant_project,
)

RED: Shape = ("red", (8, 8, 23, 31))  # 16 x 24 pixels in a 64 x 48 frame, which is an eighth
BLUE: Shape = ("blue", (40, 16, 47, 23))  # 8 x 8 pixels, which is a 48th


def planted(root: Path, *detectors: ColourDetector, num_frames: int = 3) -> Platform:
    """Return a project of two videos.

    Video `files-a` shows red; red and blue; nothing; then only red. Video `files-b` shows blue on a frame and its
    duplicate.
    """
    platform = plant_project(root, *detectors, batch_size=2)
    plant_frames(platform, "files-a", [[RED], [RED, BLUE], [], *([[RED]] * (num_frames - 3))])
    plant_frames(platform, "files-b", [[BLUE], [BLUE]])
    plant_deduplicated(platform, {"files-a": range(num_frames), "files-b": [0]}, duplicates={"files-b": [1]})
    return platform


def table_bytes(platform: Platform) -> tuple[bytes, bytes]:
    layout = platform.layout
    return layout.detections_table(PROJECT).read_bytes(), layout.detected_frames_table(PROJECT).read_bytes()


def stage(platform: Platform) -> ProjectStage:
    project = find_project(platform.database, PROJECT)
    assert project is not None
    return project.stage
