"""A deduplicated project with real JPEGs of coloured rectangles, and a detector that finds them by their colour."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import DEDUPLICATED_SCHEMA
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.models import PlantedModels

PROJECT = "shapes"
FRAME_WH = (64, 48)
COLOURS: Mapping[str, tuple[int, int, int]] = {"red": (255, 0, 0), "blue": (0, 0, 255)}
Shape = tuple[str, tuple[int, int, int, int]]  # colour, and (left, top, right, bottom), all inclusive


class ColourDetector:
    """An ObjectDetector that finds one rectangle of each colour, with its share of the frame as confidence."""

    def __init__(
        self, name: str = "colours", fingerprint: str = "1", grow: float = 0.0, *, gives_masks: bool = False
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.grow = grow  # pixels by which boxes are too large
        self.gives_masks = gives_masks
        self.batch_sizes: list[int] = []
        self.dies_at_batch: int | None = None
        self.dies_of: type[BaseException] = RuntimeError

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        """Return, for each image, the bounding box of the pixels in each class's colour."""
        if self.dies_at_batch == len(self.batch_sizes):
            raise self.dies_of("the machine lost power")
        self.batch_sizes.append(len(images))
        return [self._detect_one(image, classes, confidence_floor) for image in images]

    def _detect_one(self, image: RgbImage, classes: Sequence[ClassPrompts], confidence_floor: float) -> ImageDetections:
        found = []
        for index, wanted in enumerate(classes):
            colour = COLOURS[wanted.prompts[0]]
            is_coloured = np.abs(image.astype(int) - colour).max(axis=2) < 60
            rows, columns = np.nonzero(is_coloured)
            confidence = len(rows) / image[..., 0].size
            if len(rows) and confidence >= confidence_floor:
                box = (columns.min(), rows.min(), columns.max() + 1 + self.grow, rows.max() + 1 + self.grow)
                mask = Mask.of(is_coloured) if self.gives_masks else None
                found.append((confidence, index, box, wanted.prompts[0], mask))
        if not found:
            return ImageDetections.empty()
        found.sort(key=lambda row: -row[0])
        confidences, indices, boxes, prompts, masks = zip(*found, strict=True)
        limits = np.array([image.shape[1], image.shape[0]] * 2)
        return ImageDetections(
            np.minimum(np.array(boxes), limits).astype(np.float32),
            np.array(confidences, np.float32),
            np.array(indices, np.int32),
            tuple(prompts),
            tuple(masks),
        )


def platform_of(root: Path, *detectors: ColourDetector) -> Platform:
    """Return a platform on an existing root. Its detector finds colours unless `detectors` are given."""
    return Platform(PlatformConfig(), root, models=PlantedModels(detectors=detectors or (ColourDetector(),)))


def plant_project(root: Path, *detectors: ColourDetector, **detection: Any) -> Platform:
    """Return the platform of a root with a new project that looks for red and blue shapes and has no frames."""
    platform = platform_of(root, *detectors)
    set_detection(platform, **detection)
    set_stage(platform, ProjectStage.DETECTION_READY)
    return platform


def set_detection(platform: Platform, **detection: Any) -> None:
    """Save the project with these settings in its `detection` section."""
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["a shape"]},
            "detection": {"classes": {"red": [], "blue": []}, "confidence_floor": 0.001, **detection},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, dump, fingerprint_of(dump), None)


def set_stage(platform: Platform, stage: ProjectStage) -> None:
    """Set the project's stage."""
    with platform.database.transaction() as session:
        session.get_one(ProjectRow, PROJECT).stage = stage


def jpeg_of(shapes: Sequence[Shape]) -> bytes:
    """Return a grey frame with coloured rectangles as a JPEG file."""
    image = Image.new("RGB", FRAME_WH, (128, 128, 128))
    for colour, corners in shapes:
        ImageDraw.Draw(image).rectangle(corners, fill=COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def plant_frames(
    platform: Platform, key: str, frames: Sequence[Sequence[Shape]], *, seconds_apart: float = 1.0
) -> None:
    """Add a video to the project, and write its frames."""
    add_video(platform.database, key, PROJECT, origin=Origin.LOCAL)
    write_pictures(
        platform.layout, key, [jpeg_of(shapes) for shapes in frames], fingerprint="frames", seconds_apart=seconds_apart
    )


def plant_deduplicated(
    platform: Platform, representatives: Mapping[str, Sequence[int]], *, duplicates: Mapping[str, Sequence[int]]
) -> None:
    """Write `deduplicated.parquet`; the first representative represents all duplicates."""
    ids = (make_frame_id(key, index) for key, indices in representatives.items() for index in indices)
    first = min(ids, default="")
    rows = [
        {
            "frame_id": make_frame_id(key, index),
            "video_key": key,
            "frame_index": index,
            "is_representative": is_representative,
            "representative_frame_id": make_frame_id(key, index) if is_representative else first,
            "similarity": None if is_representative else 0.99,
            "tier": None if is_representative else "within_video",
            "quality_rank": 0,
            "generation": 0,
        }
        for is_representative, named in ((True, representatives), (False, duplicates))
        for key, indices in named.items()
        for index in indices
    ]
    rows.sort(key=lambda row: str(row["frame_id"]))
    write_table(
        platform.layout.deduplicated_table(PROJECT),
        table_from_rows(rows, DEDUPLICATED_SCHEMA),
        fingerprint=fingerprint_of({"rows": [[row["frame_id"], row["is_representative"]] for row in rows]}),
    )
