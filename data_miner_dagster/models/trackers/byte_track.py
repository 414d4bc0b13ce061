"""ByteTrack, from the library `trackers`, with the colours of boxes as a second cue (colour_matching.py).

The library (2.6) does not compare appearances, but it accepts a custom measure of overlap. Colours are part of this
measure, so the library still does the matching.

Source: Zhang et al. 2022, "ByteTrack: Multi-object tracking by associating every detection box".
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.models.trackers.colour_matching import ColourMatching, Sight

_BUFFER_RATE: Final = 30.0
"""The library measures how long an object may be lost in frames, at this many frames per second."""
_LEAST_OVERLAP: Final = 0.1
"""The minimum IoU between a box and the expected position of its object. It is low because each box is compared
later with the boxes before and after it."""


def check_installed() -> None:
    """Ensure that the library `trackers` is installed.

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
    """Implements ObjectTracker. A box with at least `start_confidence` that continues no track starts one."""

    def __init__(self, *, lost_seconds: float, every_seconds: float, start_confidence: float) -> None:
        from trackers import ByteTrackTracker

        self._start_confidence = start_confidence
        self._matching = ColourMatching()
        self._sight: Sight | None = None  # the boxes of the current frame, until they are matched
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(lost_seconds * _BUFFER_RATE)),
            frame_rate=1 / every_seconds,
            track_activation_threshold=start_confidence,
            minimum_consecutive_frames=1,  # tracks of a single box are removed later
            minimum_iou_threshold=_LEAST_OVERLAP,
            high_conf_det_threshold=start_confidence,
            iou=_overlaps_changed_by(self._changed),
        )
        self._numbers: dict[Any, int] = {}  # our number of each of the library's active tracks
        self._num_tracks = 0

    def update(
        self,
        boxes_xyxy: npt.NDArray[np.float64],
        confidences: npt.NDArray[np.float64],
        pts_seconds: float,
        seen: Sequence[SeenObject] | None = None,  # noqa: ARG002 - part of the protocol; only boxes are used
        colours: Sequence[Colours | None] = (),
    ) -> npt.NDArray[np.int64]:
        """Return an (N,) array with the number of the object that each box shows, or -1 if the object is unknown."""
        confident = np.flatnonzero(confidences >= self._start_confidence).tolist()
        known = [colours[row] if colours else None for row in confident]
        sight = Sight(pts_seconds, boxes_xyxy[confident].reshape(-1, 4), known)
        self._sight = sight if confident else None
        numbers = self._linked(boxes_xyxy, confidences, pts_seconds)
        self._matching.see(numbers[confident].tolist(), sight, dict.fromkeys(self._numbers.values()))
        return numbers

    def _changed(self, overlaps: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the (tracks, boxes) overlaps, adjusted by the colours of the boxes.

        The library calls this method first with the confident boxes and all tracks, then with the other boxes, which
        are matched by overlap alone.
        """
        sight, self._sight = self._sight, None
        if sight is None:
            return overlaps
        numbers = [self._numbers[track] for track in self._tracker.tracks]
        return self._matching.adjusted(overlaps, numbers, expected, sight)

    def _linked(
        self, boxes_xyxy: npt.NDArray[np.float64], confidences: npt.NDArray[np.float64], pts_seconds: float
    ) -> npt.NDArray[np.int64]:
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


def _overlaps_changed_by(change: Callable[[Any, Any], Any]) -> Any:
    """Return a measure of overlap for the library: the result of `change`, given the IoU and the expected positions."""
    from trackers import IoU

    class ChangedOverlaps(IoU):  # type: ignore[misc]  # the library has no types here
        def _compute(self, boxes_1: Any, boxes_2: Any) -> Any:
            return change(np.asarray(super()._compute(boxes_1, boxes_2), np.float64), boxes_1)

    return ChangedOverlaps()
