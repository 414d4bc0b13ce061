"""Counting the boxes that break a promise of detections.parquet. The asset check reports the figures."""

from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import require_table
from data_miner_dagster.storage.frames import read_frame_images
from data_miner_dagster.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class BoxCounts:
    """Of one project's detections."""

    num_boxes: int
    num_misplaced: int
    num_unknown_class: int
    num_bad_confidence: int

    @property
    def holds(self) -> bool:
        """True if no box is wrong."""
        return not (self.num_misplaced or self.num_unknown_class or self.num_bad_confidence)

    @property
    def description(self) -> str:
        """One line for the user."""
        return (
            f"of {self.num_boxes:,} boxes {self.num_misplaced:,} lie outside their frame or are empty, "
            f"{self.num_unknown_class:,} are of no class of the project, {self.num_bad_confidence:,} have a confidence "
            "out of range; `data-miner force-detect` makes them again"
        )


def check_boxes(platform: Platform, project: str) -> BoxCounts:
    """Compare a project's boxes with the sizes of their frames and with its classes.

    Raises:
        NotReadyError: the project's frames have not been looked at.
    """
    require_table(platform, project, ProjectStage.DETECTION)
    layout = platform.layout
    boxes = read_table(layout.detections_table(project))
    classes = list(platform.project_config(project).detection.classes)
    num_misplaced = 0
    for video_key in sorted(set(boxes["video_key"].to_pylist())):
        own = boxes.filter(pc.equal(boxes["video_key"], video_key))
        images = read_frame_images(layout, video_key)
        sizes = [
            images[index].resolution_wh if index in images else (-1, -1) for index in own["frame_index"].to_pylist()
        ]
        widths, heights = np.array(sizes).T
        x_min, y_min, x_max, y_max = (own[name].to_numpy() for name in ("x_min", "y_min", "x_max", "y_max"))
        is_inside = (x_min >= 0) & (y_min >= 0) & (x_max <= widths) & (y_max <= heights)
        num_misplaced += int(np.count_nonzero(~(is_inside & (x_min < x_max) & (y_min < y_max))))
    confidence = boxes["confidence"].to_numpy()
    return BoxCounts(
        num_boxes=boxes.num_rows,
        num_misplaced=num_misplaced,
        num_unknown_class=sum(1 for name in boxes["class_name"].to_pylist() if name not in classes),
        num_bad_confidence=int(np.count_nonzero(~((confidence >= 0) & (confidence <= 1)))),
    )
