"""Process detected boxes: fusion, suppression, confirmation, rows and counts.

Belongs here: decisions about boxes, as functions of arrays. Does not belong here: networks (models/), files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ClassPrompts, Float32Array, ImageDetections
from data_miner_dagster.domain.tracks import BoxTrack

CONFIDENCE_DECIMALS: Final = 4
PIXEL_DECIMALS: Final = 2
"""The number of decimal places of stored coordinates. Further digits differ between batch sizes and machines, and carry
no information."""

DetectionRow = dict[str, object]


@dataclass(frozen=True, slots=True)
class FrameDetections:
    """The N boxes of one frame, and the number of detectors that agree on each, (N,) int32.

    If objects are followed, each box also has a track.
    """

    detections: ImageDetections
    num_agreeing_detectors: npt.NDArray[np.int32]
    tracks: tuple[BoxTrack, ...] | None = None


def take_rows(detections: ImageDetections, rows: npt.NDArray[np.intp]) -> ImageDetections:
    """Return the boxes of an image at `rows`, in that order."""
    return ImageDetections(
        boxes_xyxy=detections.boxes_xyxy[rows],
        confidences=detections.confidences[rows],
        class_indices=detections.class_indices[rows],
        prompts=tuple(detections.prompts[row] for row in rows),
        masks=tuple(detections.masks[row] for row in rows),
    )


def iou_matrix(
    first_xyxy: Float32Array | npt.NDArray[np.float64], second_xyxy: Float32Array | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the (N, M) intersection over union (IoU) of each pair of boxes from two sets; 0 if neither has an area."""
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
        detections: boxes by descending confidence.
        iou: if two boxes overlap by more than this, the less confident one is removed.
        within_class: if true, only boxes of the same class suppress each other.
    """
    overlaps = iou_matrix(detections.boxes_xyxy, detections.boxes_xyxy) > iou
    if within_class:
        overlaps &= detections.class_indices[:, None] == detections.class_indices[None, :]
    kept: list[int] = []
    for row in range(len(overlaps)):
        if not overlaps[row, kept].any():
            kept.append(row)
    return np.array(kept, np.intp)


def fuse_detections(found: Sequence[ImageDetections], *, iou: float) -> FrameDetections:
    """Combine the boxes that several detectors found on one image, by weighted boxes fusion.

    Boxes of a class are processed by descending confidence. Each joins the cluster whose fused box it overlaps most, or
    starts a new cluster if that overlap is at most `iou`. A cluster's box is the confidence-weighted mean of its boxes.
    Its confidence is the mean of the detectors' best confidences, where a detector without a box counts as 0. A box
    that only one of two detectors found thus loses half of its confidence. The result is sorted by descending
    confidence. The boxes of a single detector are returned unchanged.

    A cluster takes the mask of its most confident box that has one, and the mask's bounds become its box unless the
    mask is empty. Masks are not combined: the union or intersection of two masks is not an outline that a network drew,
    and detectors without masks could not contribute.

    Source: Solovyev, Wang and Gabruseva 2021, "Weighted boxes fusion: Ensembling boxes from different object detection
    models". Unlike in the paper, only each detector's best confidence in a cluster counts. Two boxes of one detector on
    the same object therefore do not count twice.
    """
    if len(found) == 1:
        return FrameDetections(found[0], np.ones(len(found[0].prompts), np.int32))
    candidates = sorted(
        (-float(detections.confidences[row]), detector, row)
        for detector, detections in enumerate(found)
        for row in range(len(detections.prompts))
    )
    clusters: list[_Cluster] = []
    for negative_confidence, detector, row in candidates:
        box = found[detector].boxes_xyxy[row].astype(np.float64)
        class_index = int(found[detector].class_indices[row])
        rivals = [cluster for cluster in clusters if cluster.class_index == class_index]
        overlaps = iou_matrix(box[None], np.array([cluster.box for cluster in rivals]).reshape(-1, 4))[0]
        best = int(overlaps.argmax()) if len(rivals) else -1
        if best >= 0 and overlaps[best] > iou:
            cluster = rivals[best]
        else:
            cluster = _Cluster(class_index, found[detector].prompts[row])
            clusters.append(cluster)
        cluster.add(box, -negative_confidence, detector)
        cluster.mask = cluster.mask or found[detector].masks[row]
    if not clusters:
        return FrameDetections(ImageDetections.empty(), np.zeros(0, np.int32))
    confidences = np.array([sum(cluster.best_by_detector.values()) / len(found) for cluster in clusters], np.float32)
    order = np.argsort(-confidences, kind="stable")
    fused = ImageDetections(
        boxes_xyxy=np.array([cluster.bounds for cluster in clusters], np.float32),
        confidences=confidences,
        class_indices=np.array([cluster.class_index for cluster in clusters], np.int32),
        prompts=tuple(cluster.prompt for cluster in clusters),
        masks=tuple(cluster.mask for cluster in clusters),
    )
    agreeing = np.array([len(cluster.best_by_detector) for cluster in clusters], np.int32)
    return FrameDetections(take_rows(fused, order), agreeing[order])


@dataclass(slots=True)
class _Cluster:
    """Boxes that are treated as one object. `prompt` is the prompt of the most confident box."""

    class_index: int
    prompt: str
    mask: Mask | None = None
    weighted_sum: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    total_confidence: float = 0.0
    best_by_detector: dict[int, float] = field(default_factory=dict)

    @property
    def box(self) -> npt.NDArray[np.float64]:
        """The mean box, weighted by confidence."""
        return self.weighted_sum / max(self.total_confidence, 1e-12)

    @property
    def bounds(self) -> npt.NDArray[np.float64]:
        """The bounds of the mask, or the mean box if there is no mask or it is empty."""
        bounds = self.mask.bounds_xyxy if self.mask is not None else None
        return self.box if bounds is None else np.array(bounds)

    def add(self, box_xyxy: npt.NDArray[np.float64], confidence: float, detector: int) -> None:
        weight = max(confidence, 1e-6)
        self.weighted_sum = self.weighted_sum + box_xyxy * weight
        self.total_confidence += weight
        self.best_by_detector[detector] = max(confidence, self.best_by_detector.get(detector, 0.0))


def suppress(found: FrameDetections, *, class_wise_iou: float | None, cross_class_iou: float | None) -> FrameDetections:
    """Return the boxes that survive suppression within classes, and then across classes.

    A suppression whose IoU is None is not applied.
    """
    for iou, within_class in ((class_wise_iou, True), (cross_class_iou, False)):
        if iou is not None:
            rows = suppress_overlaps(found.detections, iou, within_class=within_class)
            found = FrameDetections(take_rows(found.detections, rows), found.num_agreeing_detectors[rows])
    return found


UNCONFIRMED_FACTOR: Final = 0.5
"""The factor by which the confidence of a box is multiplied if no other frame of its video confirms it."""


def confirm_along_video(
    frames: Sequence[FrameDetections], pts_seconds: Sequence[float], *, within_seconds: float, iou: float
) -> list[FrameDetections]:
    """Halve the confidence of every box that no other frame of its video confirms, and return the frames in order.

    The boxes of each frame are sorted again by descending confidence.

    A box is confirmed by a box of the same class on another frame at most `within_seconds` away that overlaps it by at
    least `iou`. A frame without another frame within this time is unchanged, because there is no evidence against its
    boxes.

    Args:
        frames: frames of one video, in time order.
        pts_seconds: times of the frames.
        within_seconds: the maximum time difference between a box and a box that confirms it, inclusive.
        iou: the minimum overlap with a box that confirms it, inclusive. Lower values allow for faster objects.
    """
    confirmed = []
    for index, frame in enumerate(frames):
        near = [
            other
            for other in range(len(frames))
            if other != index and abs(pts_seconds[other] - pts_seconds[index]) <= within_seconds
        ]
        is_confirmed = np.full(len(frame.detections.prompts), not near)
        for other in near:
            theirs = frames[other].detections
            overlaps = iou_matrix(frame.detections.boxes_xyxy, theirs.boxes_xyxy) >= iou
            overlaps &= frame.detections.class_indices[:, None] == theirs.class_indices[None, :]
            is_confirmed |= overlaps.any(axis=1)
        factor = np.where(is_confirmed, np.float32(1), np.float32(UNCONFIRMED_FACTOR))
        weighed = replace(frame.detections, confidences=frame.detections.confidences * factor)
        order = np.argsort(-weighed.confidences, kind="stable")
        confirmed.append(FrameDetections(take_rows(weighed, order), frame.num_agreeing_detectors[order]))
    return confirmed


def detection_rows(
    frame_id: str,
    video_key: str,
    frame_index: int,
    found: FrameDetections,
    *,
    classes: Sequence[ClassPrompts],
    detector: str,
) -> list[DetectionRow]:
    """Return one row per box, rounded, with the columns of `DETECTIONS_SCHEMA`, in order of descending confidence.

    Raises:
        ValueError: a box's class is not in `classes`, or its numbers are not finite. Both are faults of the detector.
    """
    detections = found.detections
    _check_boxes(detections, num_classes=len(classes))
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
            **({"mask": mask.as_coco()} if mask is not None else {}),
            **(track.as_columns() if track is not None else {}),
        }
        for box, confidence, class_index, prompt, mask, num_agreeing, track in zip(
            detections.boxes_xyxy.tolist(),
            detections.confidences.tolist(),
            detections.class_indices.tolist(),
            detections.prompts,
            detections.masks,
            found.num_agreeing_detectors.tolist(),
            found.tracks if found.tracks is not None else [None] * len(detections.prompts),
            strict=True,
        )
    ]
    return sorted(rows, key=_row_order)


def mask_bytes(row: DetectionRow) -> int:
    """Return the number of bytes in the encoded mask of a row, or 0 if the row has no mask."""
    mask = cast(Mapping[str, str] | None, row.get("mask"))
    return len(mask["counts"]) if mask is not None else 0


def _check_boxes(detections: ImageDetections, *, num_classes: int) -> None:
    indices = detections.class_indices
    strange = indices[(indices < 0) | (indices >= num_classes)]
    if len(strange):
        raise ValueError(
            f"the detector returned a box of class {int(strange[0])}, but the number of classes is {num_classes}; "
            "correct the detector, or use another one"
        )
    numbers = np.concatenate([detections.boxes_xyxy, detections.confidences[:, None]], axis=1)
    odd = numbers[~np.isfinite(numbers).all(axis=1)]
    if len(odd):
        *corners, confidence = odd[0].tolist()
        raise ValueError(
            f"the detector returned a box with the coordinates {corners} and the confidence {confidence}, but all must "
            "be finite numbers; correct the detector, or use another one"
        )


def _row_order(row: DetectionRow) -> tuple[float, str, float, float, float, float]:
    x_min, y_min, x_max, y_max = (cast(float, row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
    return (-cast(float, row["confidence"]), str(row["class_name"]), x_min, y_min, x_max, y_max)


def count_boxes(
    boxes_per_frame: Iterable[int], class_names: Iterable[str], classes: Sequence[ClassPrompts]
) -> Mapping[str, int]:
    """Return the counts `frames`, `frames_with_boxes`, `boxes` and, for each class in order, `boxes:<class>`.

    Args:
        boxes_per_frame: the number of boxes on each frame.
        class_names: the class of each box.
        classes: the class list.
    """
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
