"""The boxes of one object in the frames of a video, and its expected positions between them.

Belongs here: positions and times of one object. Does not belong here: deciding which box shows which object
(following.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.tracks import Sighting
from data_miner_dagster.stages.detection.boxes import iou_matrix

Box = npt.NDArray[np.float64]
_STEADY_IOU: Final = 0.3
"""The minimum IoU between an object's extrapolated box and its actual box after a gap."""


@dataclass(slots=True)
class Seen:
    """One box of an object on one frame.

    If `is_detected`, the box is one of the frame's detections rather than the tracker's own sighting. If `is_accepted`,
    it is where its neighbours in time predict the object to be.
    """

    pts_seconds: float
    box: Box
    confidence: float
    prompt: str
    num_agreeing: int
    mask: Mask | None = None
    is_detected: bool = True
    is_accepted: bool = False


@dataclass(slots=True)
class Track:
    """One object: the boxes that pending frames still need, and its first and last accepted boxes."""

    class_index: int
    last_seconds: float  # the time of its latest box, accepted or not
    seen: list[Seen] = field(default_factory=list)
    track_id: int | None = None  # None until it is needed, or after a later track has taken it over
    head: tuple[Seen, ...] = ()  # the first two accepted boxes
    tail: tuple[Seen, ...] = ()  # the last two accepted boxes

    def take(self, pts_seconds: float) -> Seen:
        """Remove the box at `pts_seconds`, and return it."""
        (own,) = [seen for seen in self.seen if seen.pts_seconds == pts_seconds]
        self.seen = [seen for seen in self.seen if seen is not own]
        return own

    def add(self, own: Seen) -> None:
        """Add a box, keeping the boxes in time order."""
        self.seen = sorted([*self.seen, own], key=lambda seen: seen.pts_seconds)

    def moves_steadily(self, before: Seen, after: Seen) -> bool:
        """Return whether the object's motion before a gap leads to its position after the gap, or vice versa.

        If so, the object has not turned in the gap. Up to two further boxes on either side of the gap are tried,
        because each may be wrong.
        """
        earlier = [seen for seen in self.seen if seen.pts_seconds < before.pts_seconds][-2:]
        later = [seen for seen in self.seen if seen.pts_seconds > after.pts_seconds][:2]
        continued = [(line(seen, before, after.pts_seconds), after.box) for seen in earlier]
        continued += [(line(seen, after, before.pts_seconds), before.box) for seen in later]
        return any(iou_matrix(place[None], box[None])[0, 0] >= _STEADY_IOU for place, box in continued)

    def accept(self, seen: Seen) -> None:
        """Mark a box as accepted, and update `head` and `tail`."""
        seen.is_accepted = True
        self.head = (*self.head, seen)[:2]
        self.tail = (*self.tail, seen)[-2:]


def sighting(seen: Seen) -> Sighting:
    """Return the time and confidence of a box, as evidence for a recovered box."""
    return Sighting(seen.pts_seconds, round(seen.confidence, 4))


def line(first: Seen, second: Seen, pts_seconds: float) -> Box:
    """Interpolate or extrapolate the position of a box that moves uniformly through two known positions."""
    share = (pts_seconds - first.pts_seconds) / (second.pts_seconds - first.pts_seconds)
    place: Box = first.box + (second.box - first.box) * share
    return place


def between(before: Seen, after: Seen, pts_seconds: float, resolution_wh: tuple[int, int]) -> Seen:
    """Return an object's box at a time between two of its boxes, clipped to the frame.

    Its confidence is the lower of the two boxes' confidences.
    """
    box = np.clip(line(before, after, pts_seconds), 0, np.array([*resolution_wh, *resolution_wh], np.float64))
    surer = before if before.confidence >= after.confidence else after
    return Seen(
        pts_seconds,
        box,
        min(before.confidence, after.confidence),
        surer.prompt,
        min(before.num_agreeing, after.num_agreeing),
    )


def continuity(tail: Sequence[Seen], head: Sequence[Seen]) -> float:
    """Return the highest IoU of a track's end with another track's beginning, with at most one of them extrapolated."""
    forth = line(tail[0], tail[1], head[0].pts_seconds) if len(tail) > 1 else tail[0].box
    back = line(head[0], head[1], tail[-1].pts_seconds) if len(head) > 1 else head[0].box
    pairs = ((forth, head[0].box), (tail[-1].box, head[0].box), (back, tail[-1].box))
    return max(float(iou_matrix(first[None], second[None])[0, 0]) for first, second in pairs)


def is_expected(own: Seen, near: Sequence[Seen], least_iou: float) -> bool:
    """Return whether a box is where at least one pair of its neighbours predicts the object to be.

    Up to two neighbours on either side are used, since each may be wrong. A single neighbour predicts its own position.
    Without neighbours, the result is False.
    """
    before = [seen for seen in near if seen.pts_seconds < own.pts_seconds][-2:]
    after = [seen for seen in near if seen.pts_seconds > own.pts_seconds][:2]
    around = [*before, *after]
    if len(around) == 1:
        return float(iou_matrix(own.box[None], around[0].box[None])[0, 0]) >= least_iou
    places = [
        line(first, second, own.pts_seconds)
        for position, first in enumerate(around)
        for second in around[position + 1 :]
    ]
    return bool(places) and float(iou_matrix(own.box[None], np.array(places))[0].max()) >= least_iou
