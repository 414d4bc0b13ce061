"""Follow objects along a video: decide which boxes show the same object, which flicker, and which are missing.

Frames are taken and returned in order of time. A frame is returned once the frames of the following seconds are known,
so memory does not grow with the video. Belongs here: decisions about boxes. Does not belong here: the tracker, which
links each box to the next one (models/trackers/), and the source of frames.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.domain.tracks import BoxTrack, SeenObject, Sighting
from data_miner_dagster.protocols.trackers import ObjectTracker
from data_miner_dagster.stages.detection.boxes import FrameDetections, iou_matrix

_ADOPTED_IOU: Final = 0.5
"""The minimum IoU at which a box without a track is treated as an object's missing box."""
_SAME_PLACE_IOU: Final = 0.7
"""A missing box is not added if its IoU with another object of its class is at least this: one hides the other."""
_CONTINUED_IOU: Final = 0.3
"""The minimum IoU at which a track that begins where another has ended takes over its id."""
LOST_WINDOWS: Final = 3
"""An object that has not been seen for this many windows counts as a new one when it reappears."""
_NONE: Final = -1
_SLACK_SECONDS: Final = 1e-6
"""The tolerance for comparing times, which are rounded to floats."""

Frame = TypeVar("Frame")
Box = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ObservedFrame(Generic[Frame]):
    """The detections on one frame. `is_wanted`: the frame is part of the result, not only evidence."""

    frame: Frame
    pts_seconds: float
    resolution_wh: tuple[int, int]
    found: FrameDetections
    is_wanted: bool = True
    seen: Sequence[SeenObject] | None = None  # by a video network; None: no network has examined the frame


@dataclass(frozen=True, slots=True)
class FollowedFrame(Generic[Frame]):
    """A frame after considering its neighbours: flickering boxes have lower confidence, and missing ones are added."""

    frame: Frame
    pts_seconds: float
    found: FrameDetections  # with tracks, by descending confidence
    stretch: int  # ordinal of the continuous stretch; no object is followed from one to the next


def are_apart(earlier_seconds: float, later_seconds: float, window_seconds: float) -> bool:
    """Return whether two successive frames are too far apart to follow objects from one to the other."""
    return later_seconds - earlier_seconds > window_seconds + _SLACK_SECONDS


@dataclass(slots=True)
class _Seen:
    """One box of an object on one frame. `is_accepted`: the box is where its neighbours in time predict it.

    `is_detected`: the box is one of the frame's detections, not only a sighting of the tracker itself.
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
class _Held(Generic[Frame]):
    """A frame that waits for later frames, with the object that each of its boxes shows."""

    observed: ObservedFrame[Frame]
    stretch: int
    objects: list[int]
    others: list[int]  # objects that the tracker has seen where there is no box
    num_near: int = 1  # frames of its stretch within the window, including itself

    @property
    def pts_seconds(self) -> float:
        return self.observed.pts_seconds


@dataclass(slots=True)
class _Track:
    class_index: int
    last_seconds: float
    seen: list[_Seen] = field(default_factory=list)
    track_id: int | None = None
    head: tuple[_Seen, ...] = ()  # the first two accepted boxes
    tail: tuple[_Seen, ...] = ()  # the last two

    def accept(self, seen: _Seen) -> None:
        seen.is_accepted = True
        self.head = (*self.head, seen)[:2]
        self.tail = (*self.tail, seen)[-2:]


class Follower(Generic[Frame]):
    """The state of following the objects of one video."""

    def __init__(self, config: TrackingConfig, new_tracker: Callable[[], ObjectTracker]) -> None:
        """Create a follower. It calls `new_tracker` for each class of each stretch of consecutive frames."""
        self._config = config
        self._window = config.window_seconds + _SLACK_SECONDS
        self._new_tracker = new_tracker
        self._trackers: dict[int, ObjectTracker] = {}
        self._numbers: dict[tuple[int, int], int] = {}  # (class, number of its tracker) → object
        self._tracks: dict[int, _Track] = {}
        self._unjudged: deque[_Held[Frame]] = deque()
        self._judged: deque[_Held[Frame]] = deque()
        self._times: deque[float] = deque()  # frames of this stretch that are still within some frame's window
        self._last: ObservedFrame[Frame] | None = None
        self._stretch = 0
        self._num_objects = 0
        self._num_tracks = 0

    def add(self, observed: ObservedFrame[Frame]) -> Iterator[FollowedFrame[Frame]]:
        """Take the next frame. Yield the frames whose neighbours are now all known."""
        if self._is_broken_by(observed):
            yield from self.finish()
            self._stretch += 1
        self._last = observed
        self._times.append(observed.pts_seconds)
        self._unjudged.append(_Held(observed, self._stretch, *self._link(observed)))
        yield from self._settle(observed.pts_seconds)

    def finish(self) -> Iterator[FollowedFrame[Frame]]:
        """End the stretch of frames, and yield its remaining frames."""
        yield from self._settle(float("inf"))
        self._trackers, self._numbers, self._tracks = {}, {}, {}
        self._times.clear()
        self._last = None

    def _is_broken_by(self, observed: ObservedFrame[Frame]) -> bool:
        """Return whether a frame is too far from the previous one to be its neighbour, or differs from it in size."""
        last = self._last
        return last is not None and (
            are_apart(last.pts_seconds, observed.pts_seconds, self._config.window_seconds)
            or observed.resolution_wh != last.resolution_wh
        )

    def _link(self, observed: ObservedFrame[Frame]) -> tuple[list[int], list[int]]:
        """Store all objects on a frame. Return the object of each box, `_NONE` if unknown, and the other objects."""
        detections = observed.found.detections
        boxes, confidences = detections.boxes_xyxy.astype(np.float64), detections.confidences.astype(np.float64)
        objects, others = [_NONE] * len(boxes), list[int]()
        classes = {each.class_index for each in observed.seen or ()}
        for class_index in sorted({*self._trackers, *detections.class_indices.tolist(), *classes}):
            rows = np.flatnonzero(detections.class_indices == class_index)
            if class_index not in self._trackers:
                self._trackers[class_index] = self._new_tracker()
            seen_here = None if observed.seen is None else [s for s in observed.seen if s.class_index == class_index]
            tracker, time = self._trackers[class_index], observed.pts_seconds
            numbers = tracker.update(boxes[rows], confidences[rows], time, seen_here)
            others += self._take_unclaimed(seen_here or (), numbers.tolist(), time)
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
                if number == _NONE:
                    continue
                objects[row] = self._object_of(class_index, number, observed.pts_seconds)
                agreeing = int(observed.found.num_agreeing_detectors[row])
                seen = _Seen(
                    observed.pts_seconds, boxes[row], float(confidences[row]), detections.prompts[row], agreeing
                )
                self._tracks[objects[row]].seen.append(seen)
        return objects, others

    def _take_unclaimed(self, seen: Sequence[SeenObject], claimed: Sequence[int], pts_seconds: float) -> Iterator[int]:
        """Store the objects that the tracker has seen where the frame has no box, and yield them."""
        for each in seen:
            if each.number not in claimed:
                known = self._object_of(each.class_index, each.number, pts_seconds)
                box = np.array(each.box_xyxy, np.float64)
                sighting = _Seen(pts_seconds, box, each.confidence, each.prompt, 1, each.mask, is_detected=False)
                self._tracks[known].seen.append(sighting)
                yield known

    def _object_of(self, class_index: int, number: int, pts_seconds: float) -> int:
        known = self._numbers.get((class_index, number))
        if known is None:
            known, self._num_objects = self._num_objects, self._num_objects + 1
            self._numbers[class_index, number] = known
            self._tracks[known] = _Track(class_index, pts_seconds)
        self._tracks[known].last_seconds = pts_seconds
        return known

    def _settle(self, now: float) -> Iterator[FollowedFrame[Frame]]:
        """Judge the boxes of frames whose window has passed. Then yield earlier frames with their missing boxes."""
        while self._unjudged and self._unjudged[0].pts_seconds + self._window < now:
            held = self._unjudged.popleft()
            self._judge(held)
            self._judged.append(held)
        oldest_unjudged = self._unjudged[0].pts_seconds if self._unjudged else now
        while self._judged and self._judged[0].pts_seconds + self._window < oldest_unjudged:
            held = self._judged.popleft()
            if held.observed.is_wanted:
                yield self._followed(held)
            self._forget(held.pts_seconds)

    def _forget(self, settled: float) -> None:
        """Delete the data that later frames no longer need."""
        for number in list(self._tracks):
            track = self._tracks[number]
            track.seen = [seen for seen in track.seen if seen.pts_seconds + 2 * self._window >= settled]
            if track.last_seconds + (LOST_WINDOWS + 2) * self._window < settled:
                del self._tracks[number]
        self._numbers = {key: number for key, number in self._numbers.items() if number in self._tracks}

    def _judge(self, held: _Held[Frame]) -> None:
        """Accept the boxes of a frame that are where their neighbours predict them."""
        while self._times[0] + self._window < held.pts_seconds:
            self._times.popleft()
        held.num_near = sum(abs(time - held.pts_seconds) <= self._window for time in self._times)
        for number in (*held.objects, *held.others):
            if number == _NONE:
                continue
            near = self._near(self._tracks[number], held.pts_seconds)
            own = next(seen for seen in near if seen.pts_seconds == held.pts_seconds)
            if len(near) >= self._needed(held) and _is_expected(own, near, self._config.same_object_iou):
                self._tracks[number].accept(own)

    def _needed(self, held: _Held[Frame]) -> int:
        """Return the minimum number of sightings of an object in a window. A majority of the frames always suffices."""
        return min(self._config.min_sightings, held.num_near // 2 + 1)

    def _near(self, track: _Track, pts_seconds: float) -> list[_Seen]:
        return [seen for seen in track.seen if abs(seen.pts_seconds - pts_seconds) <= self._window]

    def _followed(self, held: _Held[Frame]) -> FollowedFrame[Frame]:
        detections = held.observed.found.detections
        confidences = detections.confidences.copy()
        owner: list[int | None] = []
        for number in held.objects:
            own = self._own(number, held.pts_seconds)
            owner.append(number if own is not None and own.is_accepted and held.num_near > 1 else None)
        missing = list(self._missing(held, owner)) if self._config.recover and held.num_near > 1 else []
        for row, number in enumerate(held.objects):
            if owner[row] is None and number != _NONE and held.num_near > 1:
                confidences[row] *= np.float32(self._config.flicker_factor)
        tracks = [BoxTrack(self._id_of(number) if number is not None else None) for number in owner]
        return self._with(held, confidences, tracks, missing)

    def _own(self, number: int, pts_seconds: float) -> _Seen | None:
        track = self._tracks.get(number)
        return next((seen for seen in track.seen if seen.pts_seconds == pts_seconds), None) if track else None

    def _missing(
        self, held: _Held[Frame], owner: list[int | None]
    ) -> Iterator[tuple[int, _Seen, tuple[Sighting, Sighting]]]:
        """Yield the objects that are missing on a frame but present before and after it, with their expected boxes.

        An object is not missing if a box without a track is where the object is expected. The box is assigned to it.
        """
        detections = held.observed.found.detections
        for number in sorted(self._tracks):
            track, time = self._tracks[number], held.pts_seconds
            accepted = [seen for seen in self._near(track, time) if seen.is_accepted]
            before = [seen for seen in accepted if seen.pts_seconds < time]
            after = [seen for seen in accepted if seen.pts_seconds > time]
            if not before or not after or len(accepted) < self._needed(held) - 1 or number in owner:
                continue
            expected = self._own(number, time)
            if expected is None or expected.is_detected:  # otherwise the tracker itself has seen the object here
                expected = _between(before[-1], after[0], time, held.observed.resolution_wh)
            overlaps = iou_matrix(expected.box[None], detections.boxes_xyxy)[0]
            overlaps[detections.class_indices != track.class_index] = 0
            free = [row for row in range(len(owner)) if owner[row] is None and overlaps[row] >= _ADOPTED_IOU]
            if free:
                owner[max(free, key=lambda row: float(overlaps[row]))] = number
            elif not any(overlaps[row] >= _SAME_PLACE_IOU for row in range(len(owner)) if owner[row] is not None):
                yield number, expected, (_sighting(before[-1]), _sighting(after[0]))

    def _id_of(self, number: int) -> int:
        track = self._tracks[number]
        if track.track_id is None:
            track.track_id = self._taken_over(track)
        if track.track_id is None:
            self._num_tracks += 1
            track.track_id = self._num_tracks
        return track.track_id

    def _taken_over(self, track: _Track) -> int | None:
        """Return the id of a track that ended where this one begins, or None. It joins the tracks of a lost object."""
        ended = [
            other
            for other in self._tracks.values()
            if other.track_id is not None
            and other.class_index == track.class_index
            and other.tail[-1].pts_seconds < track.head[0].pts_seconds
        ]
        best = max(ended, key=lambda other: _continuity(other.tail, track.head), default=None)
        if best is None or _continuity(best.tail, track.head) < _CONTINUED_IOU:
            return None
        track_id, best.track_id = best.track_id, None
        return track_id

    def _with(
        self,
        held: _Held[Frame],
        confidences: npt.NDArray[np.float32],
        tracks: list[BoxTrack],
        missing: Sequence[tuple[int, _Seen, tuple[Sighting, Sighting]]],
    ) -> FollowedFrame[Frame]:
        """Return a frame with its detected boxes and the missing ones."""
        found = held.observed.found
        detections = found.detections
        added = [seen for _, seen, _ in missing]
        tracks += [BoxTrack(self._id_of(number), evidence) for number, _, evidence in missing]
        boxes = np.array([seen.box for seen in added], np.float32).reshape(-1, 4)
        confidences = np.concatenate([confidences, np.array([seen.confidence for seen in added], np.float32)])
        classes = np.array([self._tracks[number].class_index for number, _, _ in missing], np.int32)
        agreeing = np.concatenate(
            [found.num_agreeing_detectors, np.array([seen.num_agreeing for seen in added], np.int32)]
        )
        order = np.argsort(-confidences, kind="stable")
        prompts = (*detections.prompts, *(seen.prompt for seen in added))
        masks = (*detections.masks, *(seen.mask for seen in added))
        whole = ImageDetections(
            boxes_xyxy=np.concatenate([detections.boxes_xyxy, boxes])[order],
            confidences=confidences[order],
            class_indices=np.concatenate([detections.class_indices, classes])[order],
            prompts=tuple(prompts[row] for row in order),
            masks=tuple(masks[row] for row in order),
        )
        of_boxes = FrameDetections(whole, agreeing[order], tuple(tracks[row] for row in order))
        return FollowedFrame(held.observed.frame, held.pts_seconds, of_boxes, held.stretch)


def follow(
    frames: Iterable[ObservedFrame[Frame]], config: TrackingConfig, new_tracker: Callable[[], ObjectTracker]
) -> Iterator[FollowedFrame[Frame]]:
    """Yield the wanted frames of one video, in order of time, after considering their neighbours."""
    follower: Follower[Frame] = Follower(config, new_tracker)
    for frame in frames:
        yield from follower.add(frame)
    yield from follower.finish()


def _sighting(seen: _Seen) -> Sighting:
    return Sighting(seen.pts_seconds, round(seen.confidence, 4))


def _line(first: _Seen, second: _Seen, pts_seconds: float) -> Box:
    """Return the position of a box that moves uniformly through two places, at a time between or beyond them."""
    share = (pts_seconds - first.pts_seconds) / (second.pts_seconds - first.pts_seconds)
    place: Box = first.box + (second.box - first.box) * share
    return place


def _between(before: _Seen, after: _Seen, pts_seconds: float, resolution_wh: tuple[int, int]) -> _Seen:
    """Return the box of an object between two positions, with the lower of their confidences."""
    box = np.clip(_line(before, after, pts_seconds), 0, np.array([*resolution_wh, *resolution_wh], np.float64))
    surer = before if before.confidence >= after.confidence else after
    return _Seen(
        pts_seconds,
        box,
        min(before.confidence, after.confidence),
        surer.prompt,
        min(before.num_agreeing, after.num_agreeing),
    )


def _continuity(tail: Sequence[_Seen], head: Sequence[_Seen]) -> float:
    """Return the highest IoU of a track's end with another's beginning, as they are or with either one extrapolated."""
    forth = _line(tail[0], tail[1], head[0].pts_seconds) if len(tail) > 1 else tail[0].box
    back = _line(head[0], head[1], tail[-1].pts_seconds) if len(head) > 1 else head[0].box
    pairs = ((forth, head[0].box), (tail[-1].box, head[0].box), (back, tail[-1].box))
    return max(float(iou_matrix(first[None], second[None])[0, 0]) for first, second in pairs)


def _is_expected(own: _Seen, near: Sequence[_Seen], least_iou: float) -> bool:
    """Return whether a box is where any two of its neighbours predict its object.

    Two neighbours on either side are used, since each may be wrong. A single neighbour predicts its own position.
    """
    before = [seen for seen in near if seen.pts_seconds < own.pts_seconds][-2:]
    after = [seen for seen in near if seen.pts_seconds > own.pts_seconds][:2]
    around = [*before, *after]
    if len(around) == 1:
        return float(iou_matrix(own.box[None], around[0].box[None])[0, 0]) >= least_iou
    places = [
        _line(first, second, own.pts_seconds)
        for position, first in enumerate(around)
        for second in around[position + 1 :]
    ]
    return bool(places) and float(iou_matrix(own.box[None], np.array(places))[0].max()) >= least_iou
