"""Detection of one project: the representatives of its duplicate groups, looked at by its detectors.

What a detector says is kept per detector in parts (storage/detection_parts.py) and never asked for twice; what the
stage makes of it (fusion, suppression, second opinion) is decided anew from there, without a model.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import DETECTED_FRAMES_SCHEMA, DETECTIONS_SCHEMA
from data_miner_dagster.media.images import UnreadableImageError, read_stored_image
from data_miner_dagster.models.registry import ModelEntry
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.stages.detection import FrameDetections, count_boxes, detection_rows
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.detection_parts import DetectionParts, remove_other_parts
from data_miner_dagster.storage.tables import read_fingerprint, read_metadata, read_table, table_from_rows, write_table

ALGORITHM_VERSION: Final = 1
"""To be raised when the same detector, frames and settings give other boxes."""
PART_FRAMES: Final = 256
PART_SECONDS: Final = 60.0
"""What is found is written down after so many frames or so much time: a kill loses no more than that."""
NUM_UNREADABLE_KEY: Final = "data_miner.num_unreadable_frames"

logger = logging.getLogger("data_miner")


@dataclass(frozen=True, slots=True)
class _Frame:
    frame_id: str
    video_key: str
    frame_index: int
    path: Path
    sha256: str


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
        PermanentError: the frames have not been deduplicated, or the tables do not fit together.
        ModelError: the detector cannot be had.
    """
    config = platform.project_config(project).detection
    with platform.hold_project(project):
        deduplicated_fingerprint = read_fingerprint(platform.layout.deduplicated_table(project))
        if deduplicated_fingerprint is None:
            raise PermanentError(
                f"project {project!r} has no deduplicated frames yet; materialize `deduplicated_frames` first"
            )
        entries = platform.models.detector_entries(config.detectors)
        for entry in entries:
            check_classes(entry, config.class_prompts)
        parts = _parts_of(platform, project, entries, config)
        found_fingerprint = fingerprint_of(
            {
                "detection": config.model_dump(mode="json", exclude={"batch_size", "decode_threads"}),
                "parts": [part.fingerprint for part in parts.values()],
                "version": ALGORITHM_VERSION,
            }
        )
        fingerprint = fingerprint_of({"deduplicated": deduplicated_fingerprint, "found": found_fingerprint})
        if not force and _is_current(platform, project, fingerprint):
            with platform.catalog.database.transaction() as session:
                move_project(session, project, ProjectStage.DETECTING, only_from={ProjectStage.DETECT_READY})
            return _outcome(platform, project, OutcomeStatus.REUSED, fingerprint, config)
        with _stage(platform, project):
            if force:
                remove_other_parts(platform.layout.detection_parts(project), keep=())
            frames = _representatives(platform, project)
            num_unreadable = 0
            for name, part in parts.items():
                num_unreadable = max(num_unreadable, _look_at_unseen(platform, name, part, frames, config))
            _write_tables(platform, project, parts, frames, config, found_fingerprint, fingerprint, num_unreadable)
            remove_other_parts(platform.layout.detection_parts(project), keep=[part.folder for part in parts.values()])
        return _outcome(platform, project, OutcomeStatus.DONE, fingerprint, config)


def _parts_of(
    platform: Platform, project: str, entries: Sequence[ModelEntry], config: DetectionConfig
) -> Mapping[str, DetectionParts]:
    """Return what each detector of the project has found so far, by detector name. Loads no model."""
    parts = {}
    for entry in entries:
        fingerprint = fingerprint_of(
            {
                "classes": [[wanted.class_name, list(wanted.prompts)] for wanted in config.class_prompts],
                "confidence_floor": config.confidence_floor,
                "detector": entry.fingerprint,
                "tiling": config.tiling.model_dump(mode="json") if config.tiling else None,
                "version": ALGORITHM_VERSION,
            }
        )
        folder = platform.layout.detection_parts(project) / f"{entry.name}-{fingerprint}"
        parts[entry.name] = DetectionParts(folder, fingerprint)
    return parts


def _is_current(platform: Platform, project: str, fingerprint: str) -> bool:
    tables = (platform.layout.detected_frames_table(project), platform.layout.detections_table(project))
    if any(read_fingerprint(table) != fingerprint for table in tables):
        return False
    return read_metadata(tables[0]).get(NUM_UNREADABLE_KEY) == "0"


@contextmanager
def _stage(platform: Platform, project: str) -> Iterator[None]:
    """Set the project's stage to DETECTING, or to FAILED with the reason if the block raises."""
    with platform.catalog.database.transaction() as session:
        move_project(session, project, ProjectStage.DETECTING, error=None)
    try:
        yield
    except Exception as error:
        with platform.catalog.database.transaction() as session:
            move_project(
                session,
                project,
                ProjectStage.FAILED,
                only_from={ProjectStage.DETECTING},
                error=f"detection: {error or type(error).__name__}",
            )
        raise


def _representatives(platform: Platform, project: str) -> list[_Frame]:
    """Return the frames to look at, by frame id, with where their images are.

    Raises:
        PermanentError: a representative is not among the frames of its video.
    """
    table = read_table(
        platform.layout.deduplicated_table(project), ["frame_id", "video_key", "frame_index", "is_representative"]
    )
    table = table.filter(table["is_representative"])
    frames: list[_Frame] = []
    for video_key in sorted(set(table["video_key"].to_pylist())):
        wanted = table.filter(pc.equal(table["video_key"], video_key))
        stored = read_table(platform.layout.frames_table(video_key), ["frame_id", "file_name", "sha256"])
        file_by_id = dict(
            zip(
                stored["frame_id"].to_pylist(),
                zip(stored["file_name"].to_pylist(), stored["sha256"].to_pylist(), strict=True),
                strict=True,
            )
        )
        for frame_id, frame_index in zip(
            wanted["frame_id"].to_pylist(), wanted["frame_index"].to_pylist(), strict=True
        ):
            if frame_id not in file_by_id:
                raise PermanentError(
                    f"frame {frame_id} is kept by deduplication and missing in frames.parquet of its video: the frames "
                    "were extracted anew since; materialize `filtered_frames` and `deduplicated_frames` again"
                )
            file_name, sha256 = file_by_id[frame_id]
            path = platform.layout.frame_path(video_key, file_name)
            frames.append(_Frame(frame_id, video_key, frame_index, path, sha256))
    return sorted(frames, key=lambda frame: frame.frame_id)


def _look_at_unseen(
    platform: Platform, name: str, parts: DetectionParts, frames: Sequence[_Frame], config: DetectionConfig
) -> int:
    """Run one detector on the frames it has not seen; return how many could not be read."""
    parts.prepare()
    seen = parts.seen()
    unseen = [frame for frame in frames if seen.get(frame.frame_id) != frame.sha256]
    if not unseen:
        return 0
    detector = platform.models.detector(name)
    classes = config.class_prompts
    num_unreadable = num_done = 0
    boxes: list[dict[str, str | int | float]] = []
    looked_at: list[dict[str, str | int | float]] = []
    started = time.monotonic()
    for batch in _decoded_batches(unseen, config):
        readable = [(frame, image) for frame, image in batch if image is not None]
        num_unreadable += len(batch) - len(readable)
        found = _detect(detector, [image for _, image in readable], config)
        for (frame, _), detected in zip(readable, found, strict=True):
            rows = detection_rows(
                frame.frame_id, frame.video_key, frame.frame_index, detected, classes=classes, detector=name
            )
            boxes += rows
            looked_at.append(_frame_row(frame, parts.fingerprint, len(rows)))
        num_done += len(batch)
        # Parts end between batches, so a resumed run forms the same batches as an undisturbed one.
        if len(looked_at) >= PART_FRAMES or time.monotonic() - started >= PART_SECONDS or num_done == len(unseen):
            if looked_at:
                parts.append(boxes, looked_at)
            boxes, looked_at, started = [], [], time.monotonic()
            logger.info("detection: %s has looked at %d of %d frames", name, num_done, len(unseen))
    return num_unreadable


def _detect(detector: ObjectDetector, images: Sequence[RgbImage], config: DetectionConfig) -> list[FrameDetections]:
    found = detector.detect(images, config.class_prompts, confidence_floor=config.confidence_floor)
    return [FrameDetections(detections, np.ones(len(detections.confidences), np.int32)) for detections in found]


def _decoded_batches(
    frames: Sequence[_Frame], config: DetectionConfig
) -> Iterator[list[tuple[_Frame, RgbImage | None]]]:
    """Yield batches in order; an image that cannot be read is None. The next batch is decoded meanwhile."""
    batches = [frames[start : start + config.batch_size] for start in range(0, len(frames), config.batch_size)]
    with ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode") as pool:

        def submit(batch: Sequence[_Frame]) -> list[Future[RgbImage | None]]:
            return [pool.submit(_read, frame) for frame in batch]

        ahead = submit(batches[0]) if batches else []
        for number, batch in enumerate(batches):
            current, ahead = ahead, submit(batches[number + 1]) if number + 1 < len(batches) else []
            yield [(frame, future.result()) for frame, future in zip(batch, current, strict=True)]


def _read(frame: _Frame) -> RgbImage | None:
    try:
        return read_stored_image(frame.path, frame.sha256)
    except UnreadableImageError as error:
        logger.warning("detection: frame %s is left out: %s; `data-miner doctor` mends it", frame.frame_id, error)
        return None


def _frame_row(frame: _Frame, fingerprint: str, num_boxes: int) -> dict[str, str | int | float]:
    return {
        "frame_id": frame.frame_id,
        "image_sha256": frame.sha256,
        "detection_fingerprint": fingerprint,
        "num_boxes": num_boxes,
    }


def _write_tables(
    platform: Platform,
    project: str,
    parts: Mapping[str, DetectionParts],
    frames: Sequence[_Frame],
    config: DetectionConfig,
    found_fingerprint: str,
    fingerprint: str,
    num_unreadable: int,
) -> None:
    """Write both tables from the parts; `detections.parquet` last."""
    sweep_partials(platform.layout.project_folder(project))
    sha256_by_frame = {frame.frame_id: frame.sha256 for frame in frames}
    (part,) = parts.values()
    boxes = part.boxes_of(sha256_by_frame).cast(DETECTIONS_SCHEMA)
    seen = part.seen()
    counted = boxes.group_by("frame_id").aggregate([([], "count_all")])
    num_boxes = dict(zip(counted["frame_id"].to_pylist(), counted["count_all"].to_pylist(), strict=True))
    rows = [
        _frame_row(frame, found_fingerprint, num_boxes.get(frame.frame_id, 0))
        for frame in frames
        if seen.get(frame.frame_id) == frame.sha256
    ]
    write_table(
        platform.layout.detected_frames_table(project),
        table_from_rows(rows, DETECTED_FRAMES_SCHEMA),
        fingerprint=fingerprint,
        metadata={NUM_UNREADABLE_KEY: str(num_unreadable)},
    )
    write_table(platform.layout.detections_table(project), boxes, fingerprint=fingerprint)


def _outcome(
    platform: Platform, project: str, status: OutcomeStatus, fingerprint: str, config: DetectionConfig
) -> ProjectOutcome:
    frames_table = platform.layout.detected_frames_table(project)
    boxes: pa.Table = read_table(platform.layout.detections_table(project), ["class_name"])
    counts = dict(
        count_boxes(
            read_table(frames_table, ["num_boxes"])["num_boxes"].to_pylist(),
            boxes["class_name"].to_pylist(),
            config.class_prompts,
        )
    )
    num_unreadable = int(read_metadata(frames_table).get(NUM_UNREADABLE_KEY, "0"))
    if num_unreadable:
        counts["unreadable_frames"] = num_unreadable
    metadata = {"detectors": ", ".join(config.detectors or (platform.models.detector_name,))}
    return ProjectOutcome(project, status, fingerprint, counts, metadata)
