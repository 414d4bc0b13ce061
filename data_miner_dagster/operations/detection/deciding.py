"""Combine all detectors' stored results: fuse boxes, suppress overlapping boxes, and compare boxes over time.

The final boxes are recomputed from the stored parts whenever they are needed, without a model.

Belongs here: computing the boxes of one video at a time. Does not belong here: writing the tables (detect_project.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby

import numpy as np
import pyarrow as pa

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.operations.detection.runs import DetectionFaults, FrameToDetect
from data_miner_dagster.operations.item_faults import ItemGuard, item_guard
from data_miner_dagster.operations.verification.verify_boxes import FrameBoxes
from data_miner_dagster.stages.detection.boxes import (
    DetectionRow,
    FrameDetections,
    confirm_along_video,
    detection_rows,
    fuse_detections,
    suppress,
)
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.detection_parts import DetectionParts

CompareAlongVideo = Callable[[Sequence[FrameToDetect], Sequence[FrameDetections]], list[FrameDetections]]
"""A function that compares the boxes of one video over time.

It takes the frames, ordered by time, and the boxes on each frame. It returns the final boxes on each frame.
"""


class Decisions:
    """Computes the final boxes from the parts of all detectors, video by video."""

    def __init__(
        self,
        parts: Mapping[str, DetectionParts],
        frames: Sequence[FrameToDetect],
        config: DetectionConfig,
        faults: DetectionFaults,
        compare: CompareAlongVideo | None = None,
    ) -> None:
        """Determine which frames all detectors have examined.

        Args:
            parts: the stored results, by detector name.
            frames: the frames, ordered by id.
            config: the settings of detection.
            faults: receives the internal errors.
            compare: compares the boxes of a video over time. If it is None, the setting `agreement_seconds` applies. If
                that is not set either, boxes are not compared.
        """
        seen = [part.seen() for part in parts.values()]
        self.num_frames = len(frames)
        self._sha256_by_frame = {
            frame.frame_id: frame.sha256
            for frame in frames
            if all(sha256s.get(frame.frame_id) == frame.sha256 for sha256s in seen)
        }
        self._found = [part.found(self._sha256_by_frame) for part in parts.values()]
        self._frames = frames
        self._config = config
        self._faults = faults
        self._detectors = "+".join(parts)
        self._compare = compare or (_agreement(config) if config.agreement_seconds is not None else None)

    def videos(self) -> Iterator[list[FrameBoxes]]:
        """Yield the frames of one video at a time, with the rows of their boxes.

        Frames that a detector has not examined, and frames with an internal error, are left out. If comparing a
        video's boxes over time causes an error, the whole video is left out.

        Raises:
            SystematicFaultError: the same internal error occurs on all videos (three or more), or on ten in a row.
            OutageError: the same temporary error occurs on all videos (three or more), or on ten in a row.
        """
        readable = (frame for frame in self._frames if frame.frame_id in self._sha256_by_frame)
        with item_guard("detections") as guard:
            for video_key, group in groupby(readable, key=lambda frame: frame.video_key):
                frames = []
                for frame, decided in self._decide(list(group), guard):
                    make_rows = partial(_rows_of, frame, decided, self._config, self._detectors)
                    rows = guard.attempt(video_key, make_rows, partial(self._faults.add, frame))
                    if rows is not None:
                        frames.append(
                            FrameBoxes(
                                frame.frame_id, video_key, frame.picture, frame.sha256, frame.resolution_wh, rows
                            )
                        )
                if frames:
                    yield frames

    def _decide(self, video: Sequence[FrameToDetect], guard: ItemGuard) -> list[tuple[FrameToDetect, FrameDetections]]:
        """Return the frames of one video, each with its final boxes. Frames that cause an internal error are left out.

        If comparing the boxes over time causes an error, the result is empty.
        """
        video_key, add = video[0].video_key, self._faults.add
        by_frame = [boxes_by_frame(boxes.of(frame.frame_id for frame in video), self._config) for boxes in self._found]
        frames: list[FrameToDetect] = []
        decided: list[FrameDetections] = []
        for frame in video:
            fuse = partial(fused, frame.frame_id, by_frame, self._config)
            boxes = guard.attempt(video_key, fuse, partial(add, frame), proves=False)
            if boxes is not None:
                frames.append(frame)
                decided.append(boxes)
        if self._compare is not None:
            compare = partial(self._compare, frames, decided)
            add_video = partial(self._faults.add_video, video_key)
            decided = guard.attempt(video_key, compare, add_video, proves=False) or []
        return list(zip(frames, decided, strict=bool(decided)))


def _agreement(config: DetectionConfig) -> CompareAlongVideo:
    def compare(frames: Sequence[FrameToDetect], decided: Sequence[FrameDetections]) -> list[FrameDetections]:
        times = [frame.pts_seconds for frame in frames]
        seconds, iou = config.agreement_seconds or 0.0, config.agreement_iou
        return confirm_along_video(decided, times, within_seconds=seconds, iou=iou)

    return compare


def boxes_by_frame(boxes: pa.Table, config: DetectionConfig) -> Mapping[str, ImageDetections]:
    """Convert stored boxes to detections, by frame id. Frames without boxes are omitted.

    Args:
        boxes: rows of DETECTIONS_SCHEMA. Each frame's rows must be adjacent.
        config: the settings of detection. A class index is a position in `config.class_prompts`.
    """
    class_index_by_name = {wanted.class_name: index for index, wanted in enumerate(config.class_prompts)}
    corners = np.stack([boxes[name].to_numpy() for name in ("x_min", "y_min", "x_max", "y_max")], axis=1)
    confidences = boxes["confidence"].to_numpy()
    class_indices = np.array([class_index_by_name[name] for name in boxes["class_name"].to_pylist()], np.int32)
    prompts = boxes["prompt"].to_pylist()
    masks = [Mask.from_coco(rle) if rle else None for rle in boxes["mask"].to_pylist()]
    return {
        frame_id: ImageDetections(
            corners[start:stop],
            confidences[start:stop],
            class_indices[start:stop],
            tuple(prompts[start:stop]),
            tuple(masks[start:stop]),
        )
        for frame_id, start, stop in runs_of(boxes["frame_id"].combine_chunks())
    }


def fused(frame_id: str, found: Sequence[Mapping[str, ImageDetections]], config: DetectionConfig) -> FrameDetections:
    """Return the boxes on one frame after fusing the boxes of all detectors and suppressing overlapping boxes.

    Args:
        frame_id: the id of the frame.
        found: the boxes of each detector, by frame id.
        config: the settings of detection.
    """
    answers = [by_frame.get(frame_id, ImageDetections.empty()) for by_frame in found]
    return suppress(
        fuse_detections(answers, iou=config.fusion_iou),
        class_wise_iou=config.class_wise_iou,
        cross_class_iou=config.cross_class_iou,
    )


def _rows_of(
    frame: FrameToDetect, decided: FrameDetections, config: DetectionConfig, detector: str
) -> list[DetectionRow]:
    return detection_rows(
        frame.frame_id,
        frame.video_key,
        frame.frame_index,
        decided,
        classes=config.class_prompts,
        detector=detector,
    )
