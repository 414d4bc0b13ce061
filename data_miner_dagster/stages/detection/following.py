"""Follow objects through a video: decide which boxes show the same object, which flicker, and which are missing.

Frames are taken and returned in time order. A frame is returned once the frames of the next two windows are known, so
memory does not grow with the video. Belongs here: decisions about boxes. Does not belong here: the tracker, which links
each box to the next one (models/trackers/), and the source of frames.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.records import ImageDetections
from data_miner_dagster.domain.tracks import BoxTrack, SeenObject, Sighting
from data_miner_dagster.protocols.trackers import ObjectTracker
from data_miner_dagster.stages.detection.boxes import FrameDetections, iou_matrix
from data_miner_dagster.stages.detection.reassigning import MOST_GAP_SECONDS, reassigned
from data_miner_dagster.stages.detection.sightings import (
    Box,
    Seen,
    Track,
    between,
    continuity,
    is_expected,
    line,
    sighting,
)

_ADOPTED_IOU: Final = 0.5
"""The minimum IoU at which a box without a track is treated as an object's missing box."""
_SAME_PLACE_IOU: Final = 0.7
"""A missing box is not added if its IoU with another object of its class is at least this, because one then hides the
other."""
_CONTINUED_IOU: Final = 0.3
"""The minimum IoU between a track's end and a later track's beginning for the later track to take over the id."""
LOST_WINDOWS: Final = 3
"""An object that has not been seen for this many windows counts as a new one when it reappears."""
_NONE: Final = -1
_SLACK_SECONDS: Final = 1e-6
"""The tolerance for comparing times, which are rounded to floats."""

Frame = TypeVar("Frame")


@dataclass(frozen=True, slots=True)
class ObservedFrame(Generic[Frame]):
    """The detections on one frame. If `is_wanted` is False, the frame is evidence only, and the result omits it."""

    frame: Frame
    pts_seconds: float
    resolution_wh: tuple[int, int]
    found: FrameDetections
    is_wanted: bool = True
    seen: Sequence[SeenObject] | None = None  # from a video network, or None if no network has examined the frame
    colours: Sequence[Colours | None] = ()  # one item per box; empty if all are unknown


@dataclass(frozen=True, slots=True)
class FollowedFrame(Generic[Frame]):
    """A frame whose boxes were compared with those of the frames around it.

    Boxes of followed objects have tracks, flickering boxes have lost confidence, and missing boxes have been recovered
    if the project wants that.
    """

    frame: Frame
    pts_seconds: float
    found: FrameDetections  # with tracks, by descending confidence
    stretch: int  # ordinal of the continuous stretch; no object is followed from one to the next


def are_apart(earlier_seconds: float, later_seconds: float, window_seconds: float) -> bool:
    """Return whether two successive frames are too far apart to follow objects from one to the other."""
    return later_seconds - earlier_seconds > window_seconds + _SLACK_SECONDS


@dataclass(slots=True)
class _Held(Generic[Frame]):
    """A frame that is waiting for later frames, with the object that each of its boxes shows."""

    observed: ObservedFrame[Frame]
    stretch: int
    objects: list[int]
    others: list[int]  # objects that the tracker has seen where there is no box
    num_near: int = 1  # frames of its stretch within the window, including itself

    @property
    def pts_seconds(self) -> float:
        return self.observed.pts_seconds


class Follower(Generic[Frame]):
    """Follows the objects in one video."""

    def __init__(self, config: TrackingConfig, new_tracker: Callable[[], ObjectTracker]) -> None:
        """Create a follower. It calls `new_tracker` for each class in each stretch of consecutive frames."""
        self._config = config
        self._window = config.window_seconds + _SLACK_SECONDS
        self._new_tracker = new_tracker
        self._trackers: dict[int, ObjectTracker] = {}
        self._numbers: dict[tuple[int, int], int] = {}  # (class, number of its tracker) → object
        self._tracks: dict[int, Track] = {}
        self._unjudged: deque[_Held[Frame]] = deque()
        self._judged: deque[_Held[Frame]] = deque()
        self._times: deque[float] = deque()  # frames of this stretch that are still within some frame's window
        self._last: ObservedFrame[Frame] | None = None
        self._stretch = 0
        self._num_objects = 0
        self._num_tracks = 0

    def add(self, observed: ObservedFrame[Frame]) -> Iterator[FollowedFrame[Frame]]:
        """Add the next frame, and yield the wanted frames whose neighbours are now all known."""
        if self._is_broken_by(observed):
            yield from self.finish()
            self._stretch += 1
        self._last = observed
        self._times.append(observed.pts_seconds)
        self._unjudged.append(_Held(observed, self._stretch, *self._link(observed)))
        yield from self._settle(observed.pts_seconds)

    def finish(self) -> Iterator[FollowedFrame[Frame]]:
        """End the stretch of frames, and yield its remaining wanted frames."""
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
        """Follow the objects into a frame, and add what is seen of each to its track.

        Return the number of each box's object (`_NONE` if its tracker assigned none), and the numbers of the objects
        that have no box.
        """
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
            colours = [observed.colours[row] for row in rows.tolist()] if observed.colours else []
            numbers = tracker.update(boxes[rows], confidences[rows], time, seen_here, colours)
            others += self._take_unclaimed(seen_here or (), numbers.tolist(), time)
            for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
                if number == _NONE:
                    continue
                objects[row] = self._object_of(class_index, number, observed.pts_seconds)
                agreeing = int(observed.found.num_agreeing_detectors[row])
                seen = Seen(
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
                own = Seen(pts_seconds, box, each.confidence, each.prompt, 1, each.mask, is_detected=False)
                self._tracks[known].seen.append(own)
                yield known

    def _object_of(self, class_index: int, number: int, pts_seconds: float) -> int:
        known = self._numbers.get((class_index, number))
        if known is None:
            known, self._num_objects = self._num_objects, self._num_objects + 1
            self._numbers[class_index, number] = known
            self._tracks[known] = Track(class_index, pts_seconds)
        self._tracks[known].last_seconds = pts_seconds
        return known

    def _settle(self, now: float) -> Iterator[FollowedFrame[Frame]]:
        """Judge the frames whose windows have passed, then yield the wanted frames whose windows have been judged."""
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
        """Reassign the boxes of a frame, then accept each box that is supported by its object's boxes on nearby frames.

        An object must have enough boxes within the window, and its boxes on other frames must predict the position of
        its box on this frame. Boxes are not reassigned if a video network has examined the frame.
        """
        while self._times[0] + self._window < held.pts_seconds:
            self._times.popleft()
        held.num_near = sum(abs(time - held.pts_seconds) <= self._window for time in self._times)
        if held.observed.seen is None:  # a network that has seen the frame knows its objects
            self._reassign(held)
        for number in (*held.objects, *held.others):
            if number == _NONE:
                continue
            near = self._near(self._tracks[number], held.pts_seconds)
            own = next(seen for seen in near if seen.pts_seconds == held.pts_seconds)
            if len(near) >= self._needed(held) and is_expected(own, near, self._config.same_object_iou):
                self._tracks[number].accept(own)

    def _reassign(self, held: _Held[Frame]) -> None:
        """Reassign the boxes that another object explains better, now that later frames are known."""
        detections = held.observed.found.detections
        for class_index in sorted(set(detections.class_indices.tolist())):
            places, unsure = self._places(class_index, held.pts_seconds)
            rows = [
                row
                for row in np.flatnonzero(detections.class_indices == class_index).tolist()
                if held.objects[row] not in (_NONE, *unsure)
            ]
            owners = [held.objects[row] for row in rows]
            changes = reassigned(owners, detections.boxes_xyxy[rows].astype(np.float64), places)
            moved = {row: self._tracks[owners[row]].take(held.pts_seconds) for row in changes}
            for row, to in changes.items():
                self._tracks[to].add(moved[row])
                held.objects[rows[row]] = to

    def _places(self, class_index: int, pts_seconds: float) -> tuple[dict[int, Box], set[int]]:
        """Return the expected positions of a class's objects at a time, given the frames before and after.

        The second result contains the objects whose positions are uncertain. They were seen before and after, but the
        gap is too long, and they do not move steadily.
        """
        places, unsure = dict[int, Box](), set[int]()
        for number, track in self._tracks.items():
            near = self._near(track, pts_seconds) if track.class_index == class_index else []
            before = [seen for seen in near if seen.pts_seconds < pts_seconds]
            after = [seen for seen in near if seen.pts_seconds > pts_seconds]
            if not before or not after:
                continue
            is_short = after[0].pts_seconds - before[-1].pts_seconds <= MOST_GAP_SECONDS + _SLACK_SECONDS
            if is_short or track.moves_steadily(before[-1], after[0]):
                places[number] = line(before[-1], after[0], pts_seconds)
            else:
                unsure.add(number)
        return places, unsure

    def _needed(self, held: _Held[Frame]) -> int:
        """Return the minimum number of sightings of an object in a window. A majority of the frames always suffices."""
        return min(self._config.min_sightings, held.num_near // 2 + 1)

    def _near(self, track: Track, pts_seconds: float) -> list[Seen]:
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

    def _own(self, number: int, pts_seconds: float) -> Seen | None:
        track = self._tracks.get(number)
        return next((seen for seen in track.seen if seen.pts_seconds == pts_seconds), None) if track else None

    def _missing(
        self, held: _Held[Frame], owner: list[int | None]
    ) -> Iterator[tuple[int, Seen, tuple[Sighting, Sighting]]]:
        """Yield each object that is missing in a frame but seen before and after it, with its box and both sightings.

        An object is not missing if a box without a track is where the object is expected: that box is assigned to the
        object in `owner`. Nor is it missing if another object of its class may hide it.
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
                expected = between(before[-1], after[0], time, held.observed.resolution_wh)
            overlaps = iou_matrix(expected.box[None], detections.boxes_xyxy)[0]
            overlaps[detections.class_indices != track.class_index] = 0
            free = [row for row in range(len(owner)) if owner[row] is None and overlaps[row] >= _ADOPTED_IOU]
            if free:
                owner[max(free, key=lambda row: float(overlaps[row]))] = number
            elif not any(overlaps[row] >= _SAME_PLACE_IOU for row in range(len(owner)) if owner[row] is not None):
                yield number, expected, (sighting(before[-1]), sighting(after[0]))

    def _id_of(self, number: int) -> int:
        track = self._tracks[number]
        if track.track_id is None:
            track.track_id = self._taken_over(track)
        if track.track_id is None:
            self._num_tracks += 1
            track.track_id = self._num_tracks
        return track.track_id

    def _taken_over(self, track: Track) -> int | None:
        """Take over and return the id of a track that ended where this one begins, or return None."""
        ended = [
            other
            for other in self._tracks.values()
            if other.track_id is not None
            and other.class_index == track.class_index
            and other.tail[-1].pts_seconds < track.head[0].pts_seconds
        ]
        best = max(ended, key=lambda other: continuity(other.tail, track.head), default=None)
        if best is None or continuity(best.tail, track.head) < _CONTINUED_IOU:
            return None
        track_id, best.track_id = best.track_id, None
        return track_id

    def _with(
        self,
        held: _Held[Frame],
        confidences: npt.NDArray[np.float32],
        tracks: list[BoxTrack],
        missing: Sequence[tuple[int, Seen, tuple[Sighting, Sighting]]],
    ) -> FollowedFrame[Frame]:
        """Return a frame with its detected boxes and the recovered boxes in `missing`, by descending confidence."""
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
    """Yield the wanted frames of one video, in time order.

    Their boxes are linked into tracks and corrected by the frames around them.
    """
    follower: Follower[Frame] = Follower(config, new_tracker)
    for frame in frames:
        yield from follower.add(frame)
    yield from follower.finish()
