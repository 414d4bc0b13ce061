"""The tracker interface of the detection stage."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class ObjectTracker(Protocol):
    """Links boxes of one class from frame to frame, in the order of time."""

    def update(
        self, boxes_xyxy: npt.NDArray[np.float64], confidences: npt.NDArray[np.float64], pts_seconds: float
    ) -> npt.NDArray[np.int64]:
        """Return (N,) numbers. Boxes with the same number, on any frames, show one object; -1: unknown.

        Args:
            boxes_xyxy: (N, 4) the boxes of the next frame.
            confidences: (N,)
            pts_seconds: its time, later than that of the previous frame.
        """
        ...
