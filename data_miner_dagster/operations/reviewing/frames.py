"""Read a project's examined representatives and their boxes into compact arrays of about 50 bytes per frame.

The boxes are in memory-mapped temporary files (storage/spilled_columns.py), so memory use does not grow with the number
of boxes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.keys import make_frame_id, split_frame_id
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.domain.tables import VERDICT_COLUMN
from data_miner_dagster.domain.verification import VERDICT_CODES
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.reviewing_queues import BoxArrays, Float64Array, Int64Array
from data_miner_dagster.storage.spilled_columns import SpilledColumns
from data_miner_dagster.storage.tables import has_column, read_batches, read_table

_INDEX_BITS: Final = 24
"""The number of bits for the frame index in a code: enough for half a year of video at one frame per second."""
_BOX_BITS: Final = 16
_BOX_COLUMNS: Final = ("video_key", "frame_index", "class_name", "confidence", "num_agreeing_detectors")
_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")


class FrameCodes:
    """Codes for the frames of known videos: one number per frame. Codes sort by video, then by frame index.

    Args:
        video_keys: the keys of the known videos, in the sort order of their codes.
    """

    def __init__(self, video_keys: Sequence[str]) -> None:
        self.video_keys = tuple(video_keys)
        self._by_key = {key: position for position, key in enumerate(self.video_keys)}
        self._known = pa.array(self.video_keys, pa.string())

    def of_batch(self, batch: pa.RecordBatch | pa.Table) -> Int64Array:
        """Return an (N,) array with the code of each row's `video_key` and `frame_index`, or -1 for unknown videos."""
        keys = batch["video_key"]
        videos = pc.fill_null(pc.index_in(keys, value_set=self._known), -1).to_numpy().astype(np.int64)
        codes: Int64Array = (videos << _INDEX_BITS) | batch["frame_index"].to_numpy().astype(np.int64)
        return np.where(videos < 0, -1, codes)

    def knows(self, video_keys: pa.Array) -> pa.Array:
        """Return a boolean array that is true for the keys of known videos."""
        return pc.is_in(video_keys, value_set=self._known)

    def of_frame(self, frame_id: str) -> int | None:
        """Return the code of a frame, or None if its video is unknown.

        Raises:
            ValueError: `frame_id` is not a valid frame id.
        """
        video_key, frame_index = split_frame_id(frame_id)
        video = self._by_key.get(video_key)
        return None if video is None else (video << _INDEX_BITS) | frame_index

    def frame_id(self, code: int) -> str:
        """Return the id of the frame with this code."""
        return make_frame_id(self.video_key(code), code & ((1 << _INDEX_BITS) - 1))

    def video_key(self, code: int) -> str:
        """Return the video key of the frame with this code."""
        return self.video_keys[code >> _INDEX_BITS]

    def of_video(self, video_key: str) -> tuple[int, int]:
        """Return the half-open range of the codes of a video's frames, or an empty range if the video is unknown."""
        video = self._by_key.get(video_key)
        return (0, 0) if video is None else (video << _INDEX_BITS, (video + 1) << _INDEX_BITS)

    @staticmethod
    def videos(codes: Int64Array) -> Int64Array:
        """Return the position of each code's video in `video_keys`."""
        return codes >> _INDEX_BITS


def rows_of_codes(codes: Int64Array, boxes: npt.NDArray[np.integer] | int = 0) -> Int64Array:
    """Return the row of each frame or box: a number that identifies a question. Rows sort by frame, then by box.

    Args:
        codes: the codes of the frames.
        boxes: the number of each box on its frame, counted from 0, or 0 for questions about whole frames.
    """
    return (codes << _BOX_BITS) | boxes


def code_and_box(row: int) -> tuple[int, int]:
    """Return the frame code and the box number that a row from `rows_of_codes` encodes."""
    return row >> _BOX_BITS, row & ((1 << _BOX_BITS) - 1)


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """All B boxes of the examined frames, memory-mapped."""

    arrays: BoxArrays
    corners: Float32Array  # (B, 4) in pixels of the frame


@dataclass(frozen=True, slots=True)
class ExaminedFrames:
    """The N representatives that detectors have examined, ordered by video and time, and their boxes."""

    codes: Int64Array  # (N,)
    pts_seconds: Float64Array  # (N,)
    first_boxes: npt.NDArray[np.uint32]  # (N,) position of the frame's first box in `boxes`
    num_boxes: npt.NDArray[np.uint16]  # (N,)
    boxes: FoundBoxes
    detector: str | None  # the detector of the first box, or None without boxes
    revision: str | None  # fingerprint of the detectors and the class list, or None without frames

    def position_of(self, code: int) -> int | None:
        """Return the position of the frame with this code, or None if the frame has not been examined."""
        position = int(np.searchsorted(self.codes, code))
        return position if position < len(self.codes) and self.codes[position] == code else None

    def boxes_of(self, position: int) -> slice:
        """Return the slice of `boxes` that contains the boxes on the frame at this position."""
        first = int(self.first_boxes[position])
        return slice(first, first + int(self.num_boxes[position]))


def unique_codes(platform: Platform, project: str, codes: FrameCodes) -> Int64Array:
    """Return the ascending codes of the representatives that detectors have examined."""
    seen = read_table(platform.layout.detected_frames_table(project), ["frame_id"])["frame_id"]
    found = [np.zeros(0, np.int64)]
    for batch in read_batches(
        platform.layout.deduplicated_table(project), ["frame_id", "video_key", "frame_index", "is_representative"]
    ):
        unique = batch.filter(pc.and_(batch["is_representative"], pc.is_in(batch["frame_id"], value_set=seen)))
        found.append(codes.of_batch(unique))
    return np.sort(np.concatenate(found))


def positions_among(known: Int64Array, wanted: Int64Array) -> Int64Array:
    """Return the position of each code of `wanted` in the sorted array `known`, or -1 if the code is absent."""
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, places, -1)


def read_examined_frames(
    platform: Platform, project: str, codes: FrameCodes, unique: Int64Array, classes: Sequence[str]
) -> ExaminedFrames:
    """Return frames with their times and boxes. The tables are read one batch at a time.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        codes: the codes of the project's frames.
        unique: the ascending codes of the frames to read.
        classes: the class list. Boxes of other classes are left out.
    """
    first_boxes, num_boxes = np.zeros(len(unique), np.uint32), np.zeros(len(unique), np.uint16)
    num_read, detector = 0, None
    with SpilledColumns(np.int32, np.int16, np.float32, np.uint8, np.uint8, np.float32) as columns:
        for batch in _of_known(platform.layout.detections_table(project), codes, unique, classes):
            positions = positions_among(unique, codes.of_batch(batch))
            places, first, counts = np.unique(positions, return_index=True, return_counts=True)
            is_new = num_boxes[places] == 0  # a frame's boxes are adjacent, but can be divided between two batches
            first_boxes[places[is_new]] = num_read + first[is_new]
            num_boxes[places] += counts.astype(np.uint16)
            columns.add(
                positions,
                pc.index_in(batch["class_name"], value_set=pa.array(classes, pa.string())).to_numpy(),
                batch["confidence"].to_numpy(),
                np.minimum(batch["num_agreeing_detectors"].to_numpy(), 255),
                _verdict_codes(batch),
                np.stack([batch[name].to_numpy() for name in _CORNERS], axis=1).reshape(-1),
            )
            num_read += batch.num_rows
            detector = detector or (batch["detector"][0].as_py() if batch.num_rows else None)
        *of_boxes, corners = columns.mapped()
    return ExaminedFrames(
        codes=unique,
        pts_seconds=_times(platform.layout.filtered_table(project), codes, unique),
        first_boxes=first_boxes,
        num_boxes=num_boxes,
        boxes=FoundBoxes(BoxArrays(*of_boxes), corners.reshape(-1, 4)),
        detector=detector,
        revision=_revision(platform.layout.detected_frames_table(project)),
    )


def _verdict_codes(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """Return the verifier's verdict on each box as an index into VERDICT_CODES, or 0 if there is no verdict."""
    if VERDICT_COLUMN not in batch.schema.names:
        return np.zeros(batch.num_rows, np.uint8)
    words = pa.array([None if verdict is None else verdict.value for verdict in VERDICT_CODES], pa.string())
    found = pc.index_in(batch[VERDICT_COLUMN], value_set=words)
    codes: npt.NDArray[np.uint8] = pc.fill_null(found, 0).to_numpy().astype(np.uint8)
    return codes


def _of_known(path: Path, codes: FrameCodes, unique: Int64Array, classes: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield batches of the boxes of `classes` on the frames in `unique`.

    Tables that are being rewritten can contain other boxes, which are left out.
    """
    verdict = (VERDICT_COLUMN,) if has_column(path, VERDICT_COLUMN) else ()
    for batch in read_batches(path, [*_BOX_COLUMNS, *_CORNERS, "detector", *verdict]):
        is_known = positions_among(unique, codes.of_batch(batch)) >= 0
        is_class = pc.is_in(batch["class_name"], value_set=pa.array(classes, pa.string()))
        yield batch.filter(pc.and_(pa.array(is_known), is_class))


def _times(path: Path, codes: FrameCodes, unique: Int64Array) -> Float64Array:
    pts_seconds = np.full(len(unique), np.nan)
    for batch in read_batches(path, ["video_key", "frame_index", "pts_seconds"]):
        positions = positions_among(unique, codes.of_batch(batch))
        is_known = positions >= 0
        pts_seconds[positions[is_known]] = batch["pts_seconds"].to_numpy()[is_known]
    return pts_seconds


def _revision(path: Path) -> str | None:
    for batch in read_batches(path, ["detection_fingerprint"]):
        if batch.num_rows:
            revision: str = batch["detection_fingerprint"][0].as_py()
            return revision
    return None
