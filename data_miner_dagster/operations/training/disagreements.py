"""Find the frames on which a student disagrees with the annotations of its release, for the review queue `student`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from data_miner_dagster.config.models import ModelEntryConfig
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.domain.records import ClassPrompts, PictureFile
from data_miner_dagster.domain.splits import split_role
from data_miner_dagster.domain.students import Student
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import ReleaseImage
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.stages.training import (
    LEAST_CONFIDENCE,
    FrameLabels,
    best_threshold,
    find_disagreement,
)
from data_miner_dagster.storage.tables import table_from_rows, write_table

SCHEMA: Final = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("video_key", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("why", pa.string(), nullable=False),
    ]
)
NUM_FRAMES_KEY: Final = "num_frames"
THRESHOLD_KEY: Final = "threshold"


def write_disagreements(
    platform: Platform, release: Path, student: Student, entry: ModelEntryConfig, path: Path
) -> None:
    """Run a student on all images of its release, and write a table of the frames whose annotations it disagrees with.

    Images that cannot be read are left out.

    Args:
        platform: the platform of one root.
        release: the folder of the release.
        student: the student, trained on this release.
        entry: the student's entry for the model registry.
        path: the path of the table to write, with the columns of SCHEMA.

    Raises:
        ModelError: the student cannot be loaded, or the device does not have enough memory for one image.
        DataMinerError: a table of the release is damaged.
    """
    models = platform.config.models
    registry = {**models.registry, student.name: entry}
    role = ModelProvider(models.model_copy(update={"registry": registry})).detectors([student.name])[0]
    detector = role.load()
    seen = _seen(platform, release, student, detector, only_val=True)
    threshold = best_threshold([(labels, boxes) for _, labels, boxes in seen])
    rows = [
        {
            "frame_id": image.frame_id,
            "video_key": image.video_key,
            "frame_index": image.frame_index,
            "confidence": found.confidence,
            "why": found.why,
        }
        for image, labels, boxes in _seen(platform, release, student, detector)
        if (found := find_disagreement(labels, boxes, student.class_names, threshold)) is not None
    ]
    metadata = {NUM_FRAMES_KEY: str(len(rows)), THRESHOLD_KEY: repr(threshold)}
    write_table(path, table_from_rows(rows, SCHEMA), fingerprint=student.fingerprint, metadata=metadata)


def _seen(
    platform: Platform, release: Path, student: Student, detector: ObjectDetector, *, only_val: bool = False
) -> Iterator[tuple[ReleaseImage, FrameLabels, FrameLabels]]:
    """Yield (image, its annotations, the student's detections) for each readable image of a release.

    With `only_val`, only images in splits with the role `val` are read.
    """
    classes = [ClassPrompts(name, (name,)) for name in student.class_names]
    number = student.num_val_images if only_val else student.num_images
    steps = Steps(f"student of {student.project}: has examined", "images", number, platform)
    with StoredPictures(platform.config.extraction) as pictures:
        for image in read_images(release):
            if only_val and split_role(image.split) != "val":
                continue
            platform.check_run()
            steps.advance()
            file = PictureFile(release / image.path_in_release, has_foreign_pictures(image.video_key))
            try:
                pixels = pictures.read(file, image.sha256)
            except UnreadableImageError:  # the release was complete at the start, so the image has been removed since
                continue
            (seen,) = detector.detect([pixels], classes, confidence_floor=LEAST_CONFIDENCE)
            yield image, _labels(image), FrameLabels(seen.boxes_xyxy, seen.class_indices, seen.confidences)


def _labels(image: ReleaseImage) -> FrameLabels:
    boxes = image.labels
    return FrameLabels(
        np.array([box.box_xyxy for box in boxes], np.float32).reshape(-1, 4),
        np.array([box.class_index for box in boxes], np.int32),
        np.array([box.confidence for box in boxes], np.float32),
    )
