"""Run one detector on frames: decode images ahead of the detector, cut tiles, and store results in parts.

Belongs here: the expensive part, which can be killed at any time. Does not belong here: dividing the frames between
runs (shares.py), or combining the results of detectors (deciding.py).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import TracebackType
from typing import Final, Self, TypeVar

import numpy as np

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import model_call, note
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import ClassPrompts, ImageDetections, PictureFile, RgbImage
from data_miner_dagster.models.provider import DetectorRole
from data_miner_dagster.operations.detection.colours import with_colours
from data_miner_dagster.operations.detection.exemplars import ExemplarsByClass, pictured_classes
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures, remedy_for_image
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, concerns_all_items, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.verification.verify_boxes import FrameBoxes
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.stages.detection.boxes import DetectionRow, FrameDetections, detection_rows
from data_miner_dagster.stages.detection.tiling import merge_tiles, tile_windows
from data_miner_dagster.stages.embedding import is_out_of_memory
from data_miner_dagster.storage.detection_parts import DetectionParts, PartName

PART_FRAMES: Final = 256
PART_SECONDS: Final = 60.0
"""Results are written after `PART_FRAMES` frames or this many seconds, at the end of a batch. A killed run loses
only unwritten results."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FrameToDetect:
    """One image to examine: a representative, or a picture from a representative's window."""

    frame_id: str  # `<video key>@<pts>` for a picture from a window
    video_key: str
    frame_index: int  # 0 for a picture from a window
    pts_seconds: float
    picture: PictureFile
    sha256: str
    resolution_wh: tuple[int, int]


def remedy_of(frame: FrameToDetect) -> str:
    """Return what a person can do if a frame, or a picture from a window, cannot be read."""
    if frame.frame_id.startswith(f"{frame.video_key}@"):
        return f"remove the folder {frame.picture.path.parent}, and run `data-miner force-detect PROJECT`"
    return remedy_for_image("PROJECT", frame.video_key)


_Decoding = tuple[FrameToDetect, Future[RgbImage | None]]


@dataclass(slots=True)
class DetectionFaults:
    """The first internal error in each frame and video during one build, one line each.

    An error in a frame is also recorded for its video. If no frame of the video remains, the video's first error is the
    reason for leaving it out. An error in one box or tile counts for the whole frame, since an image that lacks a box
    would be labelled wrongly.
    """

    by_video: dict[str, str] = field(default_factory=dict)
    by_frame: dict[str, str] = field(default_factory=dict)

    def add(self, frame: FrameToDetect, fault: ItemFault) -> None:
        """Record, for a frame and its video, the error that caused the frame to be left out."""
        self.by_frame.setdefault(frame.frame_id, fault.line)
        self.add_video(frame.video_key, fault)

    def add_video(self, video_key: str, fault: ItemFault) -> None:
        """Record an error that caused a video, or one of its frames, to be left out."""
        self.by_video.setdefault(video_key, fault.line)


class Looker:
    """Examines frames with one detector, and stores the results. The detector is loaded when it is first used.

    An unreadable frame stays unexamined. So does a frame with an internal error, for example in one of its tiles or
    boxes. Internal errors are added to `faults`.
    """

    def __init__(
        self,
        platform: Platform,
        role: DetectorRole,
        parts: DetectionParts,
        config: DetectionConfig,
        faults: DetectionFaults,
        exemplars: ExemplarsByClass,
    ) -> None:
        self.parts = parts
        self.batch_size: Final = config.batch_size
        self.attempted: set[str] = set()
        """The ids of the frames that this object has examined or tried to examine."""
        self._platform = platform
        self._role = role
        self._config = config
        self._faults = faults
        self._exemplars = exemplars
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the resources that all frames share."""
        self._guard = self._open.enter_context(item_guard("detections"))
        self._pictures = self._open.enter_context(StoredPictures(self._platform.config.extraction))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """Close the resources. Record the internal errors unless they have a common cause or the block raised.

        Raises:
            SystematicFaultError: the same internal error occurred on all videos (three or more), or on ten in a row.
            OutageError: the same temporary error occurred on all videos (three or more), or on ten in a row.
        """
        return self._open.__exit__(kind, error, trace)

    @cached_property
    def _careful(self) -> "_CarefulDetector":
        classes = pictured_classes(self._config, self._exemplars, self._pictures)
        look = partial(detect_tiled, self._role.load(), config=self._config, classes=classes)
        careful = _CarefulDetector(self._role.name, look, classes, self._guard, self._faults)
        careful.measures_colours = self._config.compares_colours
        return careful

    def look_at(
        self,
        frames: Sequence[FrameToDetect],
        name_of_part: Callable[[int], PartName | None],
        parts: DetectionParts | None = None,
        *,
        is_told: bool = True,
    ) -> None:
        """Examine frames, and write the results in parts.

        Args:
            frames: the frames to examine.
            name_of_part: takes the number of `frames` that precede a part, and returns the part's name. If it returns
                None, the part gets the next free number as its name.
            parts: the destination of the results, or None for `self.parts`.
            is_told: True to log the progress.

        Raises:
            ConfigError: an exemplar cannot be read, or a box of it extends beyond the image.
            ModelError: the detector cannot be loaded, or there is too little memory.
        """
        parts = parts or self.parts
        num_done = num_written = 0
        boxes: list[DetectionRow] = []
        looked_at: list[dict[str, str | int | float]] = []
        started = time.monotonic()
        steps = Steps(f"detection: {self._role.name} has examined", "frames", len(frames))
        for batch in _decoded_batches(self._pictures, frames, self._config):
            for frame, rows in self._careful.look_at(batch):
                boxes += rows
                looked_at.append(frame_row(frame, parts.fingerprint, len(rows)))
                note(Measured(num_frames=1, num_boxes=len(rows)))
            self.attempted.update(frame.frame_id for frame, _ in batch)
            num_done += len(batch)
            if is_told:
                steps.advance(len(batch))
            # Parts end between batches, so a resumed run forms the same batches as an uninterrupted one.
            if len(looked_at) >= PART_FRAMES or time.monotonic() - started >= PART_SECONDS or num_done == len(frames):
                if looked_at:
                    parts.append(boxes, looked_at, name_of_part(num_written))
                num_written = num_done
                boxes, looked_at, started = [], [], time.monotonic()
                if is_told:
                    steps.tell()


_FrameAndRows = tuple[FrameToDetect, list[DetectionRow]]


class _CarefulDetector:
    """Runs a detector on batches, and isolates internal errors of single frames from the other frames."""

    def __init__(
        self,
        name: str,
        look: Callable[[Sequence[RgbImage]], list[ImageDetections]],
        classes: Sequence[ClassPrompts],
        guard: ItemGuard,
        faults: DetectionFaults,
    ) -> None:
        self._name = name
        self._look = look
        self._classes = classes
        self._guard = guard
        self._faults = faults
        self._proven: RgbImage | None = None  # an image on which the detector succeeded
        self.measures_colours = False
        """True to measure the colours in each box, since the picture is decoded anyway."""

    def look_at(self, batch: Sequence[_Decoding]) -> list[_FrameAndRows]:
        """Return the frames of a batch, each with the rows of its boxes.

        Frames that cannot be read or that cause an internal error are left out. If the batch fails, its frames are
        examined one by one. An error that concerns all frames, or a lack of memory, is raised.
        """
        decoded = [(frame, self._attempt(frame, image.result, proves=False)) for frame, image in batch]
        readable = [(frame, image) for frame, image in decoded if image is not None]
        try:
            answers = self._look([image for _, image in readable])
        except Exception as error:
            if concerns_all_items(error) or is_out_of_memory(error):
                raise
            return self._one_by_one(readable)
        if readable:
            self._proven = readable[0][1]
        found = [
            (frame, self._attempt(frame, partial(self._rows_of, frame, image, answer)))
            for (frame, image), answer in zip(readable, answers, strict=True)
        ]
        return [(frame, rows) for frame, rows in found if rows is not None]

    def _one_by_one(self, readable: Sequence[tuple[FrameToDetect, RgbImage]]) -> list[_FrameAndRows]:
        found = []
        for frame, image in readable:
            rows = self._attempt(frame, partial(self._look_at_one, frame, image))
            if rows is not None:
                self._proven = image
                found += [(frame, rows)]
        if not found and self._proven is not None:
            self._look([self._proven])  # raises if the detector is at fault
        return found

    def _look_at_one(self, frame: FrameToDetect, image: RgbImage) -> list[DetectionRow]:
        return self._rows_of(frame, image, self._look([image])[0])

    def _rows_of(self, frame: FrameToDetect, image: RgbImage, answer: ImageDetections) -> list[DetectionRow]:
        alone = FrameDetections(answer, np.ones(len(answer.prompts), np.int32))
        rows = detection_rows(
            frame.frame_id,
            frame.video_key,
            frame.frame_index,
            alone,
            classes=self._classes,
            detector=self._name,
        )
        return with_colours(rows, image) if self.measures_colours else rows

    def _attempt(self, frame: FrameToDetect, work: Callable[[], T], *, proves: bool = True) -> T | None:
        return self._guard.attempt(frame.video_key, work, partial(self._faults.add, frame), proves=proves)


def detect_tiled(
    detector: ObjectDetector, images: Sequence[RgbImage], config: DetectionConfig, classes: Sequence[ClassPrompts]
) -> list[ImageDetections]:
    """Return a detector's result for each image. Images are examined whole or in tiles, according to `config.tiling`.

    Args:
        detector: the detector.
        images: the images.
        config: the settings of detection.
        classes: the classes of `config`, with their exemplars.

    Raises:
        ValueError: the detector returned a wrong number of results, or a mask that does not have the size of its image.
    """
    tiling = config.tiling
    if tiling is None:
        return _detect(detector, images, config, classes)
    found = []
    for image in images:
        image_wh = (image.shape[1], image.shape[0])
        windows = tile_windows(
            image_wh, side=tiling.side, overlap=tiling.overlap, include_whole=tiling.include_whole_frame
        )
        tiles = [image[top:bottom, left:right] for left, top, right, bottom in windows]
        answers: list[ImageDetections] = []
        for start in range(0, len(tiles), config.batch_size):
            batch = tiles[start : start + config.batch_size]
            answers += _detect(detector, batch, config, classes)
        found.append(merge_tiles(answers, windows, image_wh, merge_iou=tiling.merge_iou))
    return found


def _detect(
    detector: ObjectDetector, images: Sequence[RgbImage], config: DetectionConfig, classes: Sequence[ClassPrompts]
) -> list[ImageDetections]:
    with model_call(detector):
        answers = detector.detect(images, classes, confidence_floor=config.confidence_floor)
    if len(answers) != len(images):
        raise ValueError(
            f"{detector.name} returned {counted(len(answers), 'result')} for {counted(len(images), 'image')}"
        )
    for image, answer in zip(images, answers, strict=True):
        image_wh = (image.shape[1], image.shape[0])
        if strange := next((mask for mask in answer.masks if mask and mask.resolution_wh != image_wh), None):
            raise ValueError(
                f"{detector.name} returned a mask of size {strange.resolution_wh} for an image of size {image_wh}"
            )
    return answers


def _decoded_batches(
    pictures: StoredPictures, frames: Sequence[FrameToDetect], config: DetectionConfig
) -> Iterator[list[_Decoding]]:
    """Yield batches of frames in order, each frame with the future of its image.

    The future's result is None if the image is unreadable. While the caller processes a batch, threads decode the next
    one.
    """
    batches = [frames[start : start + config.batch_size] for start in range(0, len(frames), config.batch_size)]
    with InheritingThreads(config.decode_threads, thread_name_prefix="decode") as pool:

        def submit(batch: Sequence[FrameToDetect]) -> list[Future[RgbImage | None]]:
            return [pool.submit(_read, pictures, frame) for frame in batch]

        ahead = submit(batches[0]) if batches else []
        for number, batch in enumerate(batches):
            current, ahead = ahead, submit(batches[number + 1]) if number + 1 < len(batches) else []
            yield list(zip(batch, current, strict=True))


def _read(pictures: StoredPictures, frame: FrameToDetect) -> RgbImage | None:
    try:
        return pictures.read(frame.picture, frame.sha256)
    except UnreadableImageError as error:
        logger.warning("detection: frame %s is left out: %s; %s", frame.frame_id, error, remedy_of(frame))
        return None


def frame_row(frame: FrameToDetect | FrameBoxes, fingerprint: str, num_boxes: int) -> dict[str, str | int | float]:
    """Return the row of DETECTED_FRAMES_SCHEMA for an examined frame.

    Args:
        frame: the frame.
        fingerprint: the fingerprint of the detectors and the class list.
        num_boxes: the number of boxes on the frame.
    """
    return {
        "frame_id": frame.frame_id,
        "image_sha256": frame.sha256,
        "detection_fingerprint": fingerprint,
        "num_boxes": num_boxes,
    }
