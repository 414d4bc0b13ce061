"""What becomes of a detector's boxes: rows, counts, suppression.

Belongs here: decisions about boxes, as functions of arrays. Does not belong here: networks (models/), files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections

CONFIDENCE_DECIMALS: Final = 4
PIXEL_DECIMALS: Final = 2
"""Stored numbers are rounded: what lies below differs between batch sizes and machines, and means nothing."""

DetectionRow = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """The boxes of one frame, with how many detectors agree on each, (N,) int32."""

    detections: ImageDetections
    num_agreeing_detectors: npt.NDArray[np.int32]


def take_rows(detections: ImageDetections, rows: npt.NDArray[np.intp]) -> ImageDetections:
    """Return some of an image's boxes, in the order of `rows`."""
    return ImageDetections(
        boxes_xyxy=detections.boxes_xyxy[rows],
        confidences=detections.confidences[rows],
        class_indices=detections.class_indices[rows],
        prompts=tuple(detections.prompts[row] for row in rows),
    )


def iou_matrix(first_xyxy: Float32Array, second_xyxy: Float32Array) -> npt.NDArray[np.float64]:
    """Return (N, M) intersections over unions; 0 where both boxes are without area."""
    first, second = first_xyxy.astype(np.float64), second_xyxy.astype(np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersections = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    unions = areas[0][:, None] + areas[1][None, :] - intersections
    ious: npt.NDArray[np.float64] = np.divide(intersections, unions, out=np.zeros_like(intersections), where=unions > 0)
    return ious


def suppress_overlaps(detections: ImageDetections, iou: float, *, within_class: bool) -> npt.NDArray[np.intp]:
    """Return the rows that survive greedy non-maximum suppression, in order.

    Args:
        detections: by descending confidence.
        iou: of two boxes that overlap by more than this, the less confident goes.
        within_class: only boxes of the same class suppress each other.
    """
    overlaps = iou_matrix(detections.boxes_xyxy, detections.boxes_xyxy) > iou
    if within_class:
        overlaps &= detections.class_indices[:, None] == detections.class_indices[None, :]
    kept: list[int] = []
    for row in range(len(overlaps)):
        if not overlaps[row, kept].any():
            kept.append(row)
    return np.array(kept, np.intp)


def detection_rows(
    frame_id: str,
    video_key: str,
    frame_index: int,
    found: FrameDetections,
    *,
    classes: Sequence[ClassPrompts],
    detector: str,
) -> list[DetectionRow]:
    """Return one row per box in the columns of `DETECTIONS_SCHEMA`, by descending confidence, numbers rounded."""
    detections = found.detections
    rows: list[DetectionRow] = [
        {
            "frame_id": frame_id,
            "video_key": video_key,
            "frame_index": frame_index,
            "class_name": classes[class_index].class_name,
            "prompt": prompt,
            "confidence": round(confidence, CONFIDENCE_DECIMALS),
            "x_min": round(box[0], PIXEL_DECIMALS),
            "y_min": round(box[1], PIXEL_DECIMALS),
            "x_max": round(box[2], PIXEL_DECIMALS),
            "y_max": round(box[3], PIXEL_DECIMALS),
            "detector": detector,
            "num_agreeing_detectors": num_agreeing,
        }
        for box, confidence, class_index, prompt, num_agreeing in zip(
            detections.boxes_xyxy.tolist(),
            detections.confidences.tolist(),
            detections.class_indices.tolist(),
            detections.prompts,
            found.num_agreeing_detectors.tolist(),
            strict=True,
        )
    ]
    return sorted(rows, key=_row_order)


def _row_order(row: DetectionRow) -> tuple[float, str, float, float, float, float]:
    x_min, y_min, x_max, y_max = (float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
    return (-float(row["confidence"]), str(row["class_name"]), x_min, y_min, x_max, y_max)


def count_boxes(
    boxes_per_frame: Iterable[int], class_names: Iterable[str], classes: Sequence[ClassPrompts]
) -> Mapping[str, int]:
    """Return exact counts: frames, frames with boxes, boxes, then boxes by class in the order of the class list."""
    per_frame = list(boxes_per_frame)
    by_class = {wanted.class_name: 0 for wanted in classes}
    for name in class_names:
        by_class[name] += 1
    return {
        "frames": len(per_frame),
        "frames_with_boxes": sum(count > 0 for count in per_frame),
        "boxes": sum(by_class.values()),
        **{f"boxes:{name}": count for name, count in by_class.items()},
    }
