"""Running one detector over frames: which it has not seen, decoding ahead, tiles, parts as it goes.

Belongs here: what costs time and can be killed. Does not belong here: what a project makes of it (detection.py).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.records import ImageDetections, RgbImage
from data_miner_dagster.media.images import read_stored_image
from data_miner_dagster.media.outcomes import UnreadableImageError
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, concerns_all_items, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.stages.detection import FrameDetections, detection_rows
from data_miner_dagster.stages.embedding import is_out_of_memory
from data_miner_dagster.stages.tiling import merge_tiles, tile_windows
from data_miner_dagster.storage.detection_parts import DetectionParts

PART_FRAMES: Final = 256
PART_SECONDS: Final = 60.0
"""What is found is written down after so many frames or so much time: a kill loses no more than that."""

logger = logging.getLogger("data_miner")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FrameToDetect:
    """One representative, and where its image is."""

    frame_id: str
    video_key: str
    frame_index: int
    pts_seconds: float
    path: Path
    sha256: str


_Decoding = tuple[FrameToDetect, Future[RgbImage | None]]


def look_at_unseen(
    platform: Platform,
    name: str,
    parts: DetectionParts,
    frames: Sequence[FrameToDetect],
    config: DetectionConfig,
    faults: dict[str, str],
) -> None:
    """Run one detector on the frames it has not seen. A frame that cannot be read stays unseen.

    So does one that an internal error meets; `faults` then gets the line, by video.
    """
    parts.prepare()
    seen = parts.seen()
    unseen = [frame for frame in frames if seen.get(frame.frame_id) != frame.sha256]
    if not unseen:
        return
    detector = platform.models.detector(name)
    classes = config.class_prompts
    num_done = 0
    boxes: list[dict[str, str | int | float]] = []
    looked_at: list[dict[str, str | int | float]] = []
    started = time.monotonic()
    with item_guard("detections") as guard:
        careful = _CarefulDetector(detector, config, guard, faults)
        for batch in _decoded_batches(unseen, config):
            for frame, detected in careful.look_at(batch):
                alone = FrameDetections(detected, np.ones(len(detected.prompts), np.int32))
                rows = detection_rows(
                    frame.frame_id, frame.video_key, frame.frame_index, alone, classes=classes, detector=name
                )
                boxes += rows
                looked_at.append(frame_row(frame, parts.fingerprint, len(rows)))
            num_done += len(batch)
            # Parts end between batches, so a resumed run forms the same batches as an undisturbed one.
            if len(looked_at) >= PART_FRAMES or time.monotonic() - started >= PART_SECONDS or num_done == len(unseen):
                if looked_at:
                    parts.append(boxes, looked_at)
                boxes, looked_at, started = [], [], time.monotonic()
                logger.info("detection: %s has looked at %d of %d frames", name, num_done, len(unseen))


class _CarefulDetector:
    """Keeps a frame that an internal error meets from ending the work on all the others."""

    def __init__(
        self, detector: ObjectDetector, config: DetectionConfig, guard: ItemGuard, faults: dict[str, str]
    ) -> None:
        self._detector = detector
        self._config = config
        self._guard = guard
        self._faults = faults
        self._proven: RgbImage | None = None  # the detector took this one

    def look_at(self, batch: Sequence[_Decoding]) -> list[tuple[FrameToDetect, ImageDetections]]:
        """Return what there is on the frames of a batch, without those that cannot be read or looked at."""
        decoded = [(frame, self._attempt(frame, image.result, proves=False)) for frame, image in batch]
        readable = [(frame, image) for frame, image in decoded if image is not None]
        images = [image for _, image in readable]
        try:
            found = detect_tiled(self._detector, images, self._config)
        except Exception as error:
            if concerns_all_items(error) or is_out_of_memory(error):
                raise
            return self._one_by_one(readable)
        if images:
            self._proven = images[0]
            self._guard.succeed()
        return [(frame, detected) for (frame, _), detected in zip(readable, found, strict=True)]

    def _one_by_one(
        self, readable: Sequence[tuple[FrameToDetect, RgbImage]]
    ) -> list[tuple[FrameToDetect, ImageDetections]]:
        found = []
        for frame, image in readable:
            detected = self._attempt(frame, partial(detect_tiled, self._detector, [image], self._config))
            if detected is not None:
                self._proven = image
                found += [(frame, detected[0])]
        if not found and self._proven is not None:
            detect_tiled(self._detector, [self._proven], self._config)  # raises if the detector itself is at its end
        return found

    def _attempt(self, frame: FrameToDetect, work: Callable[[], T], *, proves: bool = True) -> T | None:
        def record(fault: ItemFault) -> None:
            self._faults.setdefault(frame.video_key, fault.line)

        return self._guard.attempt(frame.video_key, work, record, proves=proves)


def detect_tiled(
    detector: ObjectDetector, images: Sequence[RgbImage], config: DetectionConfig
) -> list[ImageDetections]:
    """Return a detector's answer for each image, looked at whole or in tiles as the configuration says."""
    tiling = config.tiling
    if tiling is None:
        return detector.detect(images, config.class_prompts, confidence_floor=config.confidence_floor)
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
            answers += detector.detect(batch, config.class_prompts, confidence_floor=config.confidence_floor)
        found.append(merge_tiles(answers, windows, image_wh, merge_iou=tiling.merge_iou))
    return found


def _decoded_batches(frames: Sequence[FrameToDetect], config: DetectionConfig) -> Iterator[list[_Decoding]]:
    """Yield batches in order; an image that cannot be read is None. The next batch is decoded meanwhile."""
    batches = [frames[start : start + config.batch_size] for start in range(0, len(frames), config.batch_size)]
    with ThreadPoolExecutor(config.decode_threads, thread_name_prefix="decode") as pool:

        def submit(batch: Sequence[FrameToDetect]) -> list[Future[RgbImage | None]]:
            return [pool.submit(_read, frame) for frame in batch]

        ahead = submit(batches[0]) if batches else []
        for number, batch in enumerate(batches):
            current, ahead = ahead, submit(batches[number + 1]) if number + 1 < len(batches) else []
            yield list(zip(batch, current, strict=True))


def _read(frame: FrameToDetect) -> RgbImage | None:
    try:
        return read_stored_image(frame.path, frame.sha256)
    except UnreadableImageError as error:
        logger.warning("detection: frame %s is left out: %s; `data-miner doctor` mends it", frame.frame_id, error)
        return None


def frame_row(frame: FrameToDetect, fingerprint: str, num_boxes: int) -> dict[str, str | int | float]:
    """Return the row of DETECTED_FRAMES_SCHEMA of a frame that was looked at."""
    return {
        "frame_id": frame.frame_id,
        "image_sha256": frame.sha256,
        "detection_fingerprint": fingerprint,
        "num_boxes": num_boxes,
    }
