"""The tracker interfaces of the detection stage."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.domain.tracks import SeenObject


class ObjectTracker(Protocol):
    """Links boxes of one class from frame to frame, in temporal order."""

    def update(
        self,
        boxes_xyxy: npt.NDArray[np.float64],
        confidences: npt.NDArray[np.float64],
        pts_seconds: float,
        seen: Sequence[SeenObject] | None = None,
        colours: Sequence[Colours | None] = (),
    ) -> npt.NDArray[np.int64]:
        """Return an (N,) array with the track number of each box of the next frame.

        Boxes with the same number show the same object, even on different frames. The number -1 means that the object
        is unknown.

        Args:
            boxes_xyxy: (N, 4) boxes of the next frame.
            confidences: (N,) confidences of the boxes.
            pts_seconds: the time of the frame in seconds, which is later than the time of the previous frame.
            seen: the objects of the class that a video network found in the frame, or None if no network examined it.
            colours: the colours of each box, or None for a box whose colours are unknown; empty if all are unknown.
        """
        ...


class VideoSession(Protocol):
    """A video network that processes the consecutive frames of one video."""

    def look_at(self, image: RgbImage) -> list[SeenObject]:
        """Return the objects in `image`, the next frame, with their numbers, which are valid only in this session.

        Raises:
            ModelError: the device does not have enough memory.
        """
        ...


@runtime_checkable
class VideoTracker(Protocol):
    """Finds and follows objects in the frames of a video.

    `fingerprint` changes with the weights and the processing.
    """

    name: str
    fingerprint: str

    def start(self, classes: Sequence[ClassPrompts]) -> VideoSession:
        """Return a new session that searches for objects of these classes.

        Raises:
            ConfigError: a phrase has more tokens than the network can read.
        """
        ...
