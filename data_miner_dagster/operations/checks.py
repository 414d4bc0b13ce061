"""Counting what would break a promise of a derived table. Asset checks and `doctor` report the figures."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.operations.left_out import read_left_out
from data_miner_dagster.operations.members import project_inputs
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class DecisionCounts:
    """Of one project's filtering."""

    num_frames: int  # of all ready members
    num_decisions: int
    num_undecided: int  # frames
    num_of_no_frame: int  # decisions
    num_repeated: int
    num_without_reason: int

    @property
    def holds(self) -> bool:
        """True if every frame has one decision and every drop a reason."""
        return not (self.num_undecided or self.num_of_no_frame or self.num_repeated or self.num_without_reason)

    @property
    def description(self) -> str:
        """One line for the user."""
        return (
            f"{self.num_frames:,} frames, {self.num_undecided:,} of them without a decision; "
            f"{self.num_decisions:,} decisions, {self.num_of_no_frame:,} of them on no frame, "
            f"{self.num_repeated:,} made twice, {self.num_without_reason:,} without a reason; "
            "filter the project again with force"
        )


def count_decisions(platform: Platform, project: str) -> DecisionCounts:
    """Compare a project's decisions with the frames of its members.

    Raises:
        FileNotFoundError: the project has not been filtered.
    """
    path = platform.layout.filtered_table(project)
    left_out = read_left_out(path)
    frames = pa.chunked_array(
        [
            read_table(member.frames_table, ["frame_id"])["frame_id"].combine_chunks()
            for member in project_inputs(platform, project)
            if member.video_key not in left_out
        ],
        pa.string(),
    )
    table = read_table(path, ["frame_id", "is_kept", "drop_reason"])
    is_kept = table["is_kept"].to_numpy()
    has_reason = pc.is_valid(table["drop_reason"]).to_numpy()
    return DecisionCounts(
        num_frames=len(frames),
        num_decisions=table.num_rows,
        num_undecided=_num_outside(frames, table["frame_id"]),
        num_of_no_frame=_num_outside(table["frame_id"], frames),
        num_repeated=table.num_rows - pc.count_distinct(table["frame_id"]).as_py(),
        num_without_reason=int(np.count_nonzero(is_kept == has_reason)),
    )


def _num_outside(ids: pa.ChunkedArray, known: pa.ChunkedArray) -> int:
    return len(ids) - int(pc.sum(pc.is_in(ids, known.combine_chunks())).as_py() or 0)


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


def count_boxes(platform: Platform, project: str) -> BoxCounts:
    """Compare a project's boxes with the sizes of their frames and with its classes.

    Raises:
        FileNotFoundError: the project's frames have not been looked at.
    """
    layout = platform.layout
    boxes = read_table(layout.detections_table(project))
    classes = list(platform.project_config(project).detection.classes)
    num_misplaced = 0
    for video_key in sorted(set(boxes["video_key"].to_pylist())):
        own = boxes.filter(pc.equal(boxes["video_key"], video_key))
        frames = read_table(layout.frames_table(video_key), ["frame_index", "width", "height"])
        width_by_index = dict(zip(frames["frame_index"].to_pylist(), frames["width"].to_pylist(), strict=True))
        height_by_index = dict(zip(frames["frame_index"].to_pylist(), frames["height"].to_pylist(), strict=True))
        indices = own["frame_index"].to_pylist()
        widths = np.array([width_by_index.get(index, -1) for index in indices])
        heights = np.array([height_by_index.get(index, -1) for index in indices])
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
