"""Detection of one project: the representatives of its duplicate groups, looked at by its detectors.

What a detector says is kept per detector in parts (storage/detection_parts.py) and never asked for twice; what the
stage makes of it (fusion, suppression, second opinion) is decided anew from there, without a model.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from data_miner_dagster.catalog.shards import end_sharing
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections, OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import DETECTED_FRAMES_SCHEMA, DETECTIONS_SCHEMA
from data_miner_dagster.domain.versions import DETECTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.detection.representatives import representatives
from data_miner_dagster.operations.detection.runs import DetectionFaults, FrameToDetect, Looker, frame_row
from data_miner_dagster.operations.detection.shares import look_at_unseen, models_of, parts_of
from data_miner_dagster.operations.item_faults import ItemGuard, item_guard
from data_miner_dagster.operations.left_out import as_metadata, read_left_out, record_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage, require_table
from data_miner_dagster.operations.stage_versions import record_stage_versions
from data_miner_dagster.stages.detection.boxes import (
    DetectionRow,
    FrameDetections,
    confirm_along_video,
    count_boxes,
    detection_rows,
    fuse_detections,
    suppress,
)
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.detection_parts import DetectionParts, FoundBoxes, remove_other_parts
from data_miner_dagster.storage.tables import (
    MADE_FROM_KEY,
    read_fingerprint,
    read_metadata,
    read_table,
    table_from_rows,
    table_writer,
    write_table,
)

ROW_GROUP_BOXES: Final = 50_000
"""Boxes held in memory before they are written."""
NUM_UNREADABLE_KEY: Final = "data_miner.num_unreadable_frames"
"""Frames that could not be looked at, whatever kept them from it."""
_FAULTS_KEY: Final = "data_miner.faults_by_frame"
"""Those of them that an internal error met, and its line."""


def detect_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Find the project's classes on the representatives of `deduplicated.parquet`.

    Only frames that a detector has not seen with this class list are run; a killed run resumes at its last part. The
    tables are the same bytes whether it was killed or not.

    Args:
        platform: the platform.
        project: the project's name.
        force: forget what was found before and look again.

    Returns:
        Exact counts: frames, frames_with_boxes, boxes, then boxes by class; frames that could not be read, if any.

    Raises:
        ConfigError: there is no such project, or a detector has no such class.
        NotReadyError: the frames have not been deduplicated.
        ModelError: the detector cannot be had.
    """
    config = platform.project_config(project).detection
    with models_of(config), project_stage(platform, project, ProjectStage.DETECTION) as stage:
        deduplicated_fingerprint = require_table(platform, project, ProjectStage.DEDUPLICATION)
        detectors = platform.models.detectors(config.detectors)
        for detector in detectors:
            check_classes(detector.entry, config.class_prompts)
        parts = parts_of(platform, project, detectors, config)
        found_fingerprint = fingerprint_of(
            {
                "detection": config.model_dump(mode="json", exclude={"batch_size", "decode_threads"}),
                "parts": [part.fingerprint for part in parts.values()],
                "version": DETECTION_VERSION,
            }
        )
        fingerprint = fingerprint_of({"deduplicated": deduplicated_fingerprint, "found": found_fingerprint})
        if not force and _is_current(platform, project, fingerprint):
            return _outcome(platform, project, OutcomeStatus.REUSED, fingerprint, config)
        stage.begin()
        if force:
            end_sharing(platform.database, WorkStage.DETECTION, project)  # who still looks at a shard writes no more
            remove_other_parts(platform.layout.detection_parts(project), keep=())
        faults = DetectionFaults()
        frames, num_lost = representatives(platform, project, faults)
        for detector in detectors:
            with Looker(platform, detector, parts[detector.name], config, faults) as looker:
                look_at_unseen(platform, project, looker, frames, deduplicated_fingerprint)
        made_from = _MadeFrom(deduplicated_fingerprint, found_fingerprint, fingerprint, num_lost, faults)
        left_out = _write_tables(platform, project, parts, frames, config, made_from)
        record_left_out(platform, project, left_out)
        remove_other_parts(platform.layout.detection_parts(project), keep=[part.folder for part in parts.values()])
        return _outcome(platform, project, OutcomeStatus.DONE, fingerprint, config)


def _is_current(platform: Platform, project: str, fingerprint: str) -> bool:
    tables = (platform.layout.detected_frames_table(project), platform.layout.detections_table(project))
    if any(read_fingerprint(table) != fingerprint for table in tables):
        return False
    return read_metadata(tables[0]).get(NUM_UNREADABLE_KEY) == "0"


@dataclass(frozen=True, slots=True)
class _MadeFrom:
    """What the tables are made from, and without."""

    deduplicated_fingerprint: str
    found_fingerprint: str
    fingerprint: str
    num_lost: int  # representatives of videos whose frames cannot be had
    faults: DetectionFaults


def _write_tables(
    platform: Platform,
    project: str,
    parts: Mapping[str, DetectionParts],
    frames: Sequence[FrameToDetect],
    config: DetectionConfig,
    made_from: _MadeFrom,
) -> dict[str, str]:
    """Decide what the parts amount to, video by video, and write both tables; `detected_frames.parquet` last.

    Returns:
        The videos that the tables are without as a whole, and why.
    """
    metadata = {MADE_FROM_KEY: made_from.deduplicated_fingerprint}
    sweep_partials(platform.layout.project_folder(project))
    seen = [part.seen() for part in parts.values()]
    sha256_by_frame = {
        frame.frame_id: frame.sha256
        for frame in frames
        if all(sha256s.get(frame.frame_id) == frame.sha256 for sha256s in seen)
    }
    found = [part.found(sha256_by_frame) for part in parts.values()]
    frame_rows: list[dict[str, str | int | float]] = []
    seen_videos: set[str] = set()
    path = platform.layout.detections_table(project)
    with (
        table_writer(path, DETECTIONS_SCHEMA, fingerprint=made_from.fingerprint, metadata=metadata) as writer,
        item_guard("detections") as guard,
    ):
        box_rows: list[DetectionRow] = []
        readable = (frame for frame in frames if frame.frame_id in sha256_by_frame)
        for video_key, group in groupby(readable, key=lambda frame: frame.video_key):
            for frame, decided in _decide(list(group), found, config, guard, made_from.faults):
                make_rows = partial(_rows_of, frame, decided, config, "+".join(parts))
                rows = guard.attempt(video_key, make_rows, partial(made_from.faults.add, frame))
                if rows is None:
                    continue
                seen_videos.add(video_key)
                box_rows += rows
                frame_rows.append(frame_row(frame, made_from.found_fingerprint, len(rows)))
            if len(box_rows) >= ROW_GROUP_BOXES:
                writer.write_table(table_from_rows(box_rows, DETECTIONS_SCHEMA))
                box_rows = []
        writer.write_table(table_from_rows(box_rows, DETECTIONS_SCHEMA))
    left_out = {key: line for key, line in made_from.faults.by_video.items() if key not in seen_videos}
    seen_frames = {row["frame_id"] for row in frame_rows}
    faults = {frame_id: line for frame_id, line in made_from.faults.by_frame.items() if frame_id not in seen_frames}
    write_table(
        platform.layout.detected_frames_table(project),
        table_from_rows(frame_rows, DETECTED_FRAMES_SCHEMA),
        fingerprint=made_from.fingerprint,
        metadata={
            **metadata,
            NUM_UNREADABLE_KEY: str(len(frames) + made_from.num_lost - len(frame_rows)),
            **({_FAULTS_KEY: json.dumps(dict(sorted(faults.items())), ensure_ascii=False)} if faults else {}),
            **as_metadata(left_out),
        },
    )
    return left_out


def num_unreadable_frames(detected_frames_table: Path) -> int:
    """Return how many unique frames could not be looked at, whatever kept them from it; they are not in the table."""
    return int(read_metadata(detected_frames_table).get(NUM_UNREADABLE_KEY, "0"))


def faults_by_frame(detected_frames_table: Path) -> dict[str, str]:
    """Return which of them an internal error met, by frame id, and its line."""
    faults: dict[str, str] = json.loads(read_metadata(detected_frames_table).get(_FAULTS_KEY, "{}"))
    return faults


def _by_frame(boxes: pa.Table, config: DetectionConfig) -> Mapping[str, ImageDetections]:
    """Return stored boxes, sorted by frame, as detections by frame id; frames without boxes are absent."""
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


def _decide(
    video: Sequence[FrameToDetect],
    found: Sequence[FoundBoxes],
    config: DetectionConfig,
    guard: ItemGuard,
    faults: DetectionFaults,
) -> list[tuple[FrameToDetect, FrameDetections]]:
    """Return the final boxes of the frames of one video, without frames that an internal error meets.

    Agreement is of all its frames, and so is a fault there.
    """
    video_key = video[0].video_key
    by_frame = [_by_frame(boxes.of(frame.frame_id for frame in video), config) for boxes in found]
    frames: list[FrameToDetect] = []
    decided: list[FrameDetections] = []
    for frame in video:
        fuse = partial(_fuse, frame, by_frame, config)
        boxes = guard.attempt(video_key, fuse, partial(faults.add, frame), proves=False)
        if boxes is not None:
            frames.append(frame)
            decided.append(boxes)
    if config.agreement_seconds is not None:
        confirm = partial(
            confirm_along_video,
            decided,
            [frame.pts_seconds for frame in frames],
            within_seconds=config.agreement_seconds,
            iou=config.agreement_iou,
        )
        decided = guard.attempt(video_key, confirm, partial(faults.add_video, video_key), proves=False) or []
    return list(zip(frames, decided, strict=bool(decided)))


def _fuse(
    frame: FrameToDetect, found: Sequence[Mapping[str, ImageDetections]], config: DetectionConfig
) -> FrameDetections:
    answers = [by_frame.get(frame.frame_id, ImageDetections.empty()) for by_frame in found]
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


def _outcome(
    platform: Platform, project: str, status: OutcomeStatus, fingerprint: str, config: DetectionConfig
) -> ProjectOutcome:
    record_stage_versions(platform, project, detection=DETECTION_VERSION)
    frames_table = platform.layout.detected_frames_table(project)
    boxes: pa.Table = read_table(platform.layout.detections_table(project), ["class_name"])
    counts = dict(
        count_boxes(
            read_table(frames_table, ["num_boxes"])["num_boxes"].to_pylist(),
            boxes["class_name"].to_pylist(),
            config.class_prompts,
        )
    )
    if num_unreadable := num_unreadable_frames(frames_table):
        counts["unreadable_frames"] = num_unreadable
    if left_out := read_left_out(frames_table):
        counts["left_out_videos"] = len(left_out)
    metadata = {"detectors": ", ".join(config.detectors or (platform.models.detector.name,))}
    return ProjectOutcome(project, status, fingerprint, counts, metadata)
