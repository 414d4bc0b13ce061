"""Divide a video into sessions of limited length for a video network, and match the objects of different sessions.

A session has a maximum number of frames, so memory stays bounded, and a killed run repeats only one session. The next
session of the same stretch begins with the last frames of the previous one. Objects that match on these frames keep
their numbers.

Belongs here: decisions about objects. Does not belong here: the network (models/trackers/), files.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.colours import Colours
from data_miner_dagster.domain.masks import mask_iou
from data_miner_dagster.domain.records import Float32Array, ImageDetections
from data_miner_dagster.domain.tracks import SeenObject
from data_miner_dagster.stages.detection.boxes import FrameDetections, iou_matrix

SESSION_FRAMES: Final = 128
"""The maximum number of new frames in a session."""
REPEATED_FRAMES: Final = 8
"""The number of frames at the end of a session that the next session of the same stretch repeats."""
NUMBERS_PER_SESSION: Final = 1_000_000
_SAME_OBJECT_IOU: Final = 0.7
"""The minimum IoU at which two masks, such as those for two phrases, show the same object. Masks contain only visible
pixels, so the masks of different objects overlap less."""
_CONTINUED_IOU: Final = 0.5
"""The minimum IoU, on a frame that two sessions share, at which their objects are the same."""
_MATCHED_IOU: Final = 0.5
"""The minimum IoU of a detector's box with the object that it shows."""
_UNSEEN_NUMBERS: Final = 1 << 40
"""The first object number for boxes where the network has not detected an object."""
_UNKNOWN: Final = -1

Frame = TypeVar("Frame")


@dataclass(frozen=True, slots=True)
class FrameRun(Generic[Frame]):
    """The frames of one session. `repeated` are the last frames of the previous session in the stretch, if any."""

    ordinal: int
    repeated: Sequence[Frame]
    frames: Sequence[Frame]


def session_runs(
    frames: Iterable[Frame],
    is_broken: Callable[[Frame, Frame], bool],
    *,
    num_frames: int = SESSION_FRAMES,
    num_repeated: int = REPEATED_FRAMES,
) -> Iterator[FrameRun[Frame]]:
    """Divide the frames of a video into sessions. Only the frames of one session are in memory at a time.

    Args:
        frames: the frames, in time order.
        is_broken: a function that returns whether a new stretch begins at the second of two successive frames, because
            no object can be followed from the first to the second.
        num_frames: the maximum number of new frames in a session.
        num_repeated: the number of frames that the next session in a stretch repeats.
    """
    ordinal, repeated, run = 0, list[Frame](), list[Frame]()
    for frame in frames:
        broken = bool(run) and is_broken(run[-1], frame)
        if broken or len(run) == num_frames:
            yield FrameRun(ordinal, repeated, run)
            ordinal, repeated, run = ordinal + 1, [] if broken else run[-num_repeated:], []
        run.append(frame)
    if run:
        yield FrameRun(ordinal, repeated, run)


class ObjectNumbers:
    """A mapping from the network's object numbers in one session to object numbers in the video."""

    def __init__(self, ordinal: int) -> None:
        """Create an empty mapping for the session with this ordinal in its video."""
        self._next = ordinal * NUMBERS_PER_SESSION
        self._by_own: dict[int, int] = {}

    def repeat(self, seen: Sequence[SeenObject], before: Sequence[SeenObject]) -> None:
        """Give new objects in a repeated frame the numbers of the matching objects in the previous session.

        `seen` are the frame's objects with their numbers in this session. `before` are the objects that the previous
        session found in the frame, with their numbers in the video.
        """
        taken = {self._by_own[each.number] for each in seen if each.number in self._by_own}
        pairs = [
            (-_overlap(one, other), one.number, other.number)
            for one in seen
            for other in before
            if one.number not in self._by_own and one.class_index == other.class_index and other.number not in taken
        ]
        for negative_iou, own, number in sorted(pairs):
            if -negative_iou >= _CONTINUED_IOU and own not in self._by_own and number not in taken:
                self._by_own[own] = number
                taken.add(number)

    def numbered(self, seen: Sequence[SeenObject]) -> list[SeenObject]:
        """Return the objects in a frame with their numbers in the video, ordered by number.

        If several objects have the same number, only the most confident of them is returned.
        """
        best: dict[int, SeenObject] = {}
        for each in sorted(seen, key=lambda each: each.number):
            if each.number not in self._by_own:
                self._by_own[each.number] = self._number_of_new(each, seen)
            number = self._by_own[each.number]
            if number not in best or each.confidence > best[number].confidence:
                best[number] = each
        return [
            SeenObject(number, each.class_index, each.prompt, each.confidence, each.box_xyxy, each.mask)
            for number, each in sorted(best.items())
        ]

    def _number_of_new(self, new: SeenObject, seen: Sequence[SeenObject]) -> int:
        for other in seen:
            is_known = other.number in self._by_own and other.class_index == new.class_index
            if is_known and _overlap(new, other) >= _SAME_OBJECT_IOU:
                return self._by_own[other.number]
        self._next += 1
        return self._next - 1


def _overlap(one: SeenObject, other: SeenObject) -> float:
    if one.mask is not None and other.mask is not None:
        return mask_iou(one.mask, other.mask)
    return float(iou_matrix(np.array([one.box_xyxy]), np.array([other.box_xyxy]))[0, 0])


class SessionTracker:
    """An `ObjectTracker` that assigns each box to the object that a video network has detected at its position.

    A box that matches no object becomes an object of its own if its confidence is at least `start_confidence`.
    """

    def __init__(self, *, start_confidence: float) -> None:
        self._start_confidence = start_confidence
        self._next_unseen = _UNSEEN_NUMBERS

    def update(
        self,
        boxes_xyxy: npt.NDArray[np.float64],
        confidences: npt.NDArray[np.float64],
        pts_seconds: float,  # noqa: ARG002 - part of the protocol; `seen` already links frames
        seen: Sequence[SeenObject] | None = None,
        colours: Sequence[Colours | None] = (),  # noqa: ARG002 - the network knows objects by its own memory of them
    ) -> npt.NDArray[np.int64]:
        """Return the (N,) numbers of the objects that the boxes show, or -1 where the object is unknown.

        If `seen` is None, because the network has not examined the frame, every object is unknown.
        """
        numbers = np.full(len(boxes_xyxy), _UNKNOWN, np.int64)
        if seen is None:
            return numbers
        places = np.array([each.box_xyxy for each in seen], np.float64).reshape(-1, 4)
        overlaps = iou_matrix(boxes_xyxy.reshape(-1, 4), places)
        for flat in np.argsort(-overlaps, axis=None, kind="stable").tolist():
            row, column = divmod(flat, len(seen))
            number = seen[column].number
            if overlaps[row, column] < _MATCHED_IOU:
                break
            if numbers[row] == _UNKNOWN and number not in numbers:
                numbers[row] = number
        for row in np.flatnonzero((numbers == _UNKNOWN) & (confidences >= self._start_confidence)).tolist():
            numbers[row], self._next_unseen = self._next_unseen, self._next_unseen + 1
        return numbers


def as_detections(seen: Sequence[SeenObject]) -> FrameDetections:
    """Return a video network's objects as boxes of a frame that no detector has examined, most confident first."""
    ordered = sorted(seen, key=lambda each: -each.confidence)
    boxes: Float32Array = np.array([each.box_xyxy for each in ordered], np.float32).reshape(-1, 4)
    detections = ImageDetections(
        boxes_xyxy=boxes,
        confidences=np.array([each.confidence for each in ordered], np.float32),
        class_indices=np.array([each.class_index for each in ordered], np.int32),
        prompts=tuple(each.prompt for each in ordered),
        masks=tuple(each.mask for each in ordered),
    )
    return FrameDetections(detections, np.ones(len(ordered), np.int32))
