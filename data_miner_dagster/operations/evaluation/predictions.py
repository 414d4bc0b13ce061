"""Read the boxes to evaluate: all stored detections of a project, or a release's boxes without the unsure ones."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.operations.evaluation.reviewed_frames import (
    NOTHING_FOUND,
    StoredDetections,
    stored_detections,
)
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.stages.evaluation.answers import FoundOnFrame
from data_miner_dagster.storage.frames import images_of_frames
from data_miner_dagster.storage.tables import read_table


@dataclass(frozen=True, slots=True)
class PredictedFrame:
    """The boxes on one frame, in pixels of the frame."""

    frame_id: str
    resolution_wh: tuple[int, int]
    found: FoundOnFrame


@dataclass(frozen=True, slots=True)
class Predictions:
    """The boxes to evaluate. `read` returns the boxes on the given frames, in order of video and time.

    Frames that no longer exist, because a video's frames were deleted or extracted again, are omitted.
    """

    name: str  # "detections" or the version of a release
    detector: str  # several names are joined by `+`
    fingerprint: str  # the fingerprint of the detector and the class list, or of the release
    class_names: tuple[str, ...]
    thresholds: Mapping[str, float]  # by class: the lowest confidence of a box in a release
    sha256_by_frame: Mapping[str, str]  # sha256 of each frame file that was examined or is in the release
    read: Callable[[Iterable[str]], list[PredictedFrame]]


def detections_of_project(platform: Platform, project: str, config: ProjectConfig) -> Predictions:
    """Return the stored detections of a project. The boxes are read when `read` is called.

    Raises:
        NotReadyError: detection has not run yet.
        OutOfDateError: raised by `read` if a box belongs to a class that the project no longer has.
    """
    detections = stored_detections(platform, project, config)
    seen = read_table(platform.layout.detected_frames_table(project), ["frame_id", "image_sha256"])
    return Predictions(
        name="detections",
        detector=detections.detector,
        fingerprint=detections.revision,
        class_names=detections.class_names,
        thresholds={name: config.releasing.threshold_of(name) for name in detections.class_names},
        sha256_by_frame=dict(zip(seen["frame_id"].to_pylist(), seen["image_sha256"].to_pylist(), strict=True)),
        read=lambda frame_ids: _stored(platform, detections, frame_ids),
    )


def _stored(platform: Platform, detections: StoredDetections, frame_ids: Iterable[str]) -> list[PredictedFrame]:
    frames: list[PredictedFrame] = []
    images = images_of_frames(platform.layout, sorted(frame_ids))
    steps = Steps("evaluation: has read", "frames", len(images))
    found: tuple[str, Mapping[int, FoundOnFrame]] = ("", {})
    for frame_id, image in images.items():
        steps.advance()
        video_key, index = split_frame_id(frame_id)
        if found[0] != video_key:
            found = (video_key, detections.on_frames(video_key))
        frames.append(PredictedFrame(frame_id, image.resolution_wh, found[1].get(index, NOTHING_FOUND)))
    return frames


def boxes_of_release(platform: Platform, project: str, version: str) -> Predictions:
    """Return the boxes in a release on disk, except unsure ones. The boxes are read when `read` is called.

    Raises:
        DataMinerError: a file of the release is damaged. `read` may raise it too.
    """
    folder = platform.layout.release_folder(project, version)
    manifest = read_manifest(folder) or {}
    names = tuple(manifest["classes"])
    return Predictions(
        name=version,
        detector="+".join(model["name"] for model in manifest["models"] if model["role"] == "detector"),
        fingerprint=manifest["fingerprint"],
        class_names=names,
        thresholds={name: manifest["thresholds"][name] for name in names},
        sha256_by_frame={image.frame_id: image.sha256 for image in read_images(folder)},
        read=partial(_released, folder),
    )


def _released(folder: Path, frame_ids: Iterable[str]) -> list[PredictedFrame]:
    wanted = frozenset(frame_ids)
    return [
        PredictedFrame(
            image.frame_id,
            (image.width, image.height),
            _columns([(box.class_index, box.confidence, box.box_xyxy) for box in image.boxes if not box.is_unsure]),
        )
        for image in read_images(folder)
        if image.frame_id in wanted
    ]


def _columns(boxes: list[tuple[int, float, tuple[float, float, float, float]]]) -> FoundOnFrame:
    return FoundOnFrame(
        np.array([box[0] for box in boxes], np.int64),
        np.array([box[1] for box in boxes], np.float64),
        np.array([box[2] for box in boxes], np.float64).reshape(-1, 4),
    )
