"""Count the boxes in detections.parquet that violate a guarantee of the table, for its asset check."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.storage.frames import read_frame_images
from data_miner_dagster.storage.tables import has_column, read_batches, read_table

_REMEDY: Final = "; `data-miner force-detect PROJECT` recreates all boxes"
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")
_COLUMNS: Final = ("video_key", "frame_index", "class_name", "confidence", *_CORNERS)


@dataclass(frozen=True, slots=True)
class BoxCounts:
    """The number of a project's boxes, in total and by violated guarantee."""

    num_boxes: int
    num_misplaced: int  # boxes outside their frame, without area, or on a frame that does not exist
    num_unknown_class: int  # boxes of a class that is not in the class list
    num_bad_confidence: int  # boxes with a confidence outside 0 to 1
    num_wrong_masks: int = 0  # boxes whose mask is empty, or has bounds that differ from the box by over a pixel

    @property
    def holds(self) -> bool:
        """True if no box violates a guarantee."""
        return not (self.num_misplaced or self.num_unknown_class or self.num_bad_confidence or self.num_wrong_masks)

    @property
    def description(self) -> str:
        """The counts as a single line, for the user."""
        return (
            f"{counted(self.num_boxes, 'box', 'boxes')}: {self.num_misplaced:,} outside their frame, empty or without "
            f"a frame, {self.num_unknown_class:,} of a class that the project does not have, "
            f"{self.num_bad_confidence:,} with a confidence outside 0 to 1, {self.num_wrong_masks:,} with a mask that "
            f"does not fit the box or is empty{'' if self.holds else _REMEDY}"
        )


def check_boxes(platform: Platform, project: str) -> BoxCounts:
    """Count a project's boxes, and the boxes that violate each guarantee of its detections table.

    Raises:
        ConfigError: the project does not exist.
        NotReadyError: the project's detection has not run yet.
        DamagedFileError: the table of detections, or the frame table of a video, is damaged.
    """
    require_table(platform, project, ProjectStage.DETECTION)
    layout = platform.layout
    boxes = read_table(layout.detections_table(project), _COLUMNS)
    classes = list(platform.project_config(project).detection.classes)
    num_misplaced = 0
    for video_key in sorted(set(boxes["video_key"].to_pylist())):
        own = boxes.filter(pc.equal(boxes["video_key"], video_key))
        images = read_frame_images(layout, video_key)
        sizes = [
            images[index].resolution_wh if index in images else (-1, -1) for index in own["frame_index"].to_pylist()
        ]
        widths, heights = np.array(sizes).T
        x_min, y_min, x_max, y_max = (own[name].to_numpy() for name in _CORNERS)
        is_inside = (x_min >= 0) & (y_min >= 0) & (x_max <= widths) & (y_max <= heights)
        num_misplaced += int(np.count_nonzero(~(is_inside & (x_min < x_max) & (y_min < y_max))))
    confidence = boxes["confidence"].to_numpy()
    return BoxCounts(
        num_boxes=boxes.num_rows,
        num_misplaced=num_misplaced,
        num_unknown_class=sum(1 for name in boxes["class_name"].to_pylist() if name not in classes),
        num_bad_confidence=int(np.count_nonzero(~((confidence >= 0) & (confidence <= 1)))),
        num_wrong_masks=_count_wrong_masks(layout.detections_table(project)),
    )


def _count_wrong_masks(detections_table: Path) -> int:
    """Count the boxes whose masks are empty or have bounds that differ from the box by more than a pixel.

    The result is 0 for a table that an earlier version wrote without masks.
    """
    if not has_column(detections_table, "mask"):
        return 0
    batches = read_batches(detections_table, [*_CORNERS, "mask"])
    return sum(_is_wrong(row) for batch in batches for row in batch.filter(batch["mask"].is_valid()).to_pylist())


def _is_wrong(row: Mapping[str, Any]) -> bool:
    return not Mask.from_coco(row["mask"]).is_of((row["x_min"], row["y_min"], row["x_max"], row["y_max"]))
