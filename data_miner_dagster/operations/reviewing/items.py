"""Questions as a person sees them: a frame or two, with their boxes, and why they are shown."""

from collections.abc import Sequence
from typing import Final

from data_miner_dagster.domain.verdicts import RelativeBox, ReviewQueue, ShownBox
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.frames import code_and_box
from data_miner_dagster.operations.reviewing.index import ReviewIndex, some_boxes
from data_miner_dagster.operations.reviewing.records import ReviewBox, ReviewItem
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.stages.releasing import clip_box
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster.stages.reviewing_queues import NO_OBJECT, OBJECT, UNSURE, box_states

_SHARE_DECIMALS: Final = 6
_STATES: Final = {NO_OBJECT: BoxState.NONE, UNSURE: BoxState.UNSURE, OBJECT: BoxState.OBJECT}
_ORDER: Final = (BoxState.OBJECT, BoxState.UNSURE, BoxState.NONE)


class ItemMaker:
    """Makes items of one index."""

    def __init__(self, platform: Platform, index: ReviewIndex) -> None:
        self.index = index
        self._frames = ShownFrames(platform, index.config.shown)
        self._classes = list(index.config.detection.classes)

    def item(self, queue: ReviewQueue, row: int) -> ReviewItem | None:
        """Return one question, None if its frame is gone."""
        code, box = code_and_box(row)
        frame_id = self.index.codes.frame_id(code)
        if queue is ReviewQueue.DUPLICATES:
            return self._pair(row)
        boxes = self.boxes_of(frame_id)
        why = ""
        if queue is ReviewQueue.UNSURE:
            boxes = [_asked(one, is_asked=one.state is BoxState.UNSURE) for one in boxes]
            names = sorted({one.class_name for one in boxes if one.is_asked})
            why = f"perhaps {', '.join(names)}"
        frame = self._frames.frame(frame_id, tuple(sorted(boxes, key=_by_state)))
        return None if frame is None else ReviewItem(key=f"{frame_id}#{box}", why=why, frame=frame)

    def _pair(self, row: int) -> ReviewItem | None:
        pair = self.index.pairs[row]
        frame, other = (self._frames.frame(name) for name in (pair.frame_id, pair.representative_frame_id))
        if frame is None or other is None:
            return None
        why = f"{pair.similarity:.3f} similar, left out as a duplicate"
        return ReviewItem(pair.frame_id, why, frame, other, pair.similarity, pair.tier)

    def boxes_of(self, frame_id: str) -> list[ReviewBox]:
        """Return the boxes of a frame, none where no detector has looked at it."""
        examined, code = self.index.examined, self.index.codes.of_frame(frame_id)
        position = None if examined is None or code is None else examined.position_of(code)
        size = self._frames.resolution_of(frame_id)
        if examined is None or position is None or size is None:
            return []
        where = examined.boxes_of(position)
        arrays = examined.boxes.arrays
        states = box_states(some_boxes(arrays, where), self.index.rules)
        boxes = []
        for corners, class_index, confidence, agreeing, state in zip(
            examined.boxes.corners[where].tolist(),
            arrays.classes[where].tolist(),
            arrays.confidences[where].tolist(),
            arrays.num_agreeing[where].tolist(),
            states.tolist(),
            strict=True,
        ):
            shares = shares_of(corners, size)
            if shares is None:
                continue
            shown = ShownBox(
                self._classes[class_index], shares, examined.detector, examined.revision, round(confidence, 4)
            )
            boxes.append(ReviewBox(shown.class_name, shares, _STATES[state], shown, agreeing))
        return boxes


def shares_of(corners: Sequence[float], size: tuple[int, int]) -> RelativeBox | None:
    """Return a box in pixels as shares of its frame, None if next to nothing of it lies inside."""
    clipped = clip_box((corners[0], corners[1], corners[2], corners[3]), size)
    if clipped is None:
        return None
    width, height = size
    x_min, y_min, x_max, y_max = clipped
    return (
        round(x_min / width, _SHARE_DECIMALS),
        round(y_min / height, _SHARE_DECIMALS),
        round(x_max / width, _SHARE_DECIMALS),
        round(y_max / height, _SHARE_DECIMALS),
    )


def _asked(box: ReviewBox, *, is_asked: bool) -> ReviewBox:
    return ReviewBox(box.class_name, box.box, box.state, box.shown, box.num_agreeing_detectors, is_asked=is_asked)


def _by_state(box: ReviewBox) -> tuple[int, float]:
    return _ORDER.index(box.state), -(box.shown.confidence or 0.0)
