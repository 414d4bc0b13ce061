"""The tracker interfaces of the detection stage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.domain.tracks import SeenObject


class ObjectTracker(Protocol):
    """Links boxes of one class from frame to frame, in the order of time."""

    def update(
        self,
        boxes_xyxy: npt.NDArray[np.float64],
        confidences: npt.NDArray[np.float64],
        pts_seconds: float,
        seen: Sequence[SeenObject] | None = None,
    ) -> npt.NDArray[np.int64]:
        """Return (N,) numbers. Boxes with the same number, on any frames, show one object; -1: unknown.

        Args:
            boxes_xyxy: (N, 4) the boxes of the next frame.
            confidences: (N,)
            pts_seconds: its time, later than that of the previous frame.
            seen: the objects of the class that a video network found on the frame; None: no such network examined it.
        """
        ...


class VideoSession(Protocol):
    """A video network at work on consecutive frames of one video."""

    def look_at(self, image: RgbImage) -> list[SeenObject]:
        """Return the objects on the next frame, by number. Numbers are valid within this session.

        Raises:
            ModelError: the device does not have enough memory.
        """
        ...


@runtime_checkable
class VideoTracker(Protocol):
    """Finds objects on the frames of a video, and follows them. `fingerprint` changes with weights and processing."""

    name: str
    fingerprint: str

    def start(self, classes: Sequence[ClassPrompts]) -> VideoSession:
        """Return a new session, which has seen no frame and looks for the given phrases.

        Raises:
            ConfigError: a phrase exceeds the text limit.
        """
        ...
