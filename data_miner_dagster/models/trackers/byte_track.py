"""ByteTrack, from the library `trackers`.

Source: Zhang et al. 2022, "ByteTrack: Multi-object tracking by associating every detection box".
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.tracks import SeenObject

_BUFFER_RATE: Final = 30.0
"""The library measures how long an object may be lost in frames at this rate."""
_LEAST_OVERLAP: Final = 0.1
"""The minimum IoU between a box and the expected position of its object. It is low because each box is judged later,
based on the boxes before and after it."""


def check_installed() -> None:
    """Ensure that the library is installed.

    Raises:
        ModelError: the library is not installed.
    """
    try:
        import trackers  # noqa: F401
    except ImportError as error:
        missing = ModelError(
            f"detection.tracking needs the package {error.name or 'trackers'}, which is not installed here; "
            "install it with `pip install 'data-miner-dagster[tracks]'`"
        )
        missing.is_of_project = True
        raise missing from error


class ByteTracker:
    """Implements ObjectTracker. A box with at least `start_confidence` starts a track unless it continues one."""

    def __init__(self, *, lost_seconds: float, every_seconds: float, start_confidence: float) -> None:
        from trackers import ByteTrackTracker

        self._start_confidence = start_confidence
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(lost_seconds * _BUFFER_RATE)),
            frame_rate=1 / every_seconds,
            track_activation_threshold=start_confidence,
            minimum_consecutive_frames=1,  # tracks of a single box are removed later
            minimum_iou_threshold=_LEAST_OVERLAP,
            high_conf_det_threshold=start_confidence,
        )
        self._numbers: dict[Any, int] = {}  # of the library's active tracks
        self._num_tracks = 0

    def update(
        self,
        boxes_xyxy: npt.NDArray[np.float64],
        confidences: npt.NDArray[np.float64],
        pts_seconds: float,
        seen: Sequence[SeenObject] | None = None,  # noqa: ARG002 - part of the protocol; only boxes are used
    ) -> npt.NDArray[np.int64]:
        """Return (N,) the number of the object that each box shows, or -1 if the object is unknown."""
        import supervision

        rows = np.arange(len(boxes_xyxy))
        shown = supervision.Detections(
            xyxy=boxes_xyxy.reshape(-1, 4).astype(np.float64), confidence=confidences, data={"row": rows}
        )
        answer = self._tracker.update(shown, timestamp=pts_seconds)
        alive = {track: self._numbers[track] for track in self._tracker.tracks if track in self._numbers}
        started = [track for track in self._tracker.tracks if track not in alive]
        for track in started:
            alive[track], self._num_tracks = self._num_tracks, self._num_tracks + 1
        self._numbers = alive
        number_by_id = {track.tracker_id: number for track, number in alive.items() if track.tracker_id >= 0}
        numbers = np.full(len(rows), -1, np.int64)
        found = answer.data.get("row", rows[:0])
        # The library assigns no id to the first box of a track. Its new tracks are in the order of these boxes.
        new = iter(started)
        for row, tracker_id in zip(np.asarray(found).tolist(), np.asarray(answer.tracker_id).tolist(), strict=True):
            if tracker_id >= 0:
                numbers[row] = number_by_id[tracker_id]
            elif confidences[row] >= self._start_confidence:
                numbers[row] = alive[next(new)]
        return numbers
