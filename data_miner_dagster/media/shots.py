"""Measure how much each picture of a video differs from the previous one, for shot detection."""

from array import array

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data_miner_dagster.domain.decoding import Int64Array, VideoIndex
from data_miner_dagster.media.decoding import DecodeTally, decode_numbered
from data_miner_dagster.media.pictures import Plane, plane_of

_COMPARED_WH = (64, 36)


def measure_changes(stream: VideoStream, index: VideoIndex) -> tuple[Int64Array, npt.NDArray[np.float32]]:
    """Decode a freshly opened stream. Return the pts of its frames, and each frame's change from the previous one.

    The change is the mean absolute difference of luma and chroma at 64x36, from 0 to 255. The first frame's change is
    0.
    """
    pts, changes = array("q"), array("f")
    before: Plane | None = None
    for frame_pts, frame in decode_numbered(stream, index, DecodeTally()):
        small = _small(frame)
        changes.append(0.0 if before is None else float(np.mean(cv2.absdiff(small, before))))
        pts.append(frame_pts)
        before = small
    return np.array(pts, dtype=np.int64), np.array(changes, dtype=np.float32)


def _small(frame: VideoFrame) -> Plane:
    """Return a frame reduced to 64x36, as (36, 64, 3): luma and both chroma planes."""
    planar = frame if frame.format.name in ("yuv420p", "yuvj420p") else frame.reformat(format="yuv420p")
    planes = [plane_of(planar, position) for position in range(3)]
    return np.asarray(cv2.merge([cv2.resize(plane, _COMPARED_WH, interpolation=cv2.INTER_AREA) for plane in planes]))
