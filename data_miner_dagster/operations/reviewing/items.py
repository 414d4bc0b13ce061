"""Create questions as a person sees them: one or two frames with their boxes, and the reason for asking."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from data_miner_dagster.domain.phrases import counted, phrase_of
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.frames import code_and_box, rows_of_codes
from data_miner_dagster.operations.reviewing.index import ReviewIndex
from data_miner_dagster.operations.reviewing.judged_frames import JudgedFrame, judge_frame, review_boxes
from data_miner_dagster.operations.reviewing.records import ReviewBox, ReviewFrame, ReviewItem
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.operations.reviewing.standing import Standing
from data_miner_dagster.stages.reviewing.states import BoxState
from data_miner_dagster.storage.by_video import TableByVideo

_ORDER: Final = (BoxState.OBJECT, BoxState.UNSURE, BoxState.NONE)
_PlacedBox = tuple[int | None, ReviewBox]


class ItemMaker:
    """Creates the questions of one index as people see them, with the verdicts in force applied."""

    def __init__(self, platform: Platform, project: str, index: ReviewIndex, frames: ShownFrames) -> None:
        self._filtered_table = platform.layout.filtered_table(project)
        self._filtered: TableByVideo | None = None
        self._index = index
        self._frames = frames
        self._thresholds = dict(zip(index.config.detection.classes, index.rules.thresholds.tolist(), strict=True))

    def item(self, queue: ReviewQueue, row: int, standing: Standing) -> ReviewItem | None:
        """Return the question with this row in a queue, or None if one of its frames no longer exists."""
        if queue is ReviewQueue.DUPLICATES:
            return self._pair(row, standing)
        code, box = code_and_box(row)
        judged = self._judged(code, standing)
        if judged is None:
            return None
        boxes, why = self._asked(queue, code, box, review_boxes(self._index, judged))
        frame = self._frame(code, boxes, standing)
        return None if frame is None else ReviewItem(_key(queue, frame.frame_id, box), why, frame)

    def _judged(self, code: int, standing: Standing) -> JudgedFrame | None:
        known = standing.judged.get(code)
        if known is not None:
            return known
        size = self._frames.resolution_of(self._index.codes.frame_id(code))
        return None if size is None else judge_frame(self._index, code, (), size)

    def _frame(self, code: int, boxes: list[_PlacedBox], standing: Standing) -> ReviewFrame | None:
        ordered = tuple(box for _, box in sorted(boxes, key=_by_state))
        return self._frames.frame(self._index.codes.frame_id(code), ordered, standing.said.get(code, {}))

    def _asked(self, queue: ReviewQueue, code: int, box: int, boxes: list[_PlacedBox]) -> tuple[list[_PlacedBox], str]:
        """Mark the boxes that the question is about. Return all boxes, and the reason for asking.

        If any boxes are marked, the reason describes each of them.
        """
        is_asked: Callable[[int | None, ReviewBox], bool] = lambda _position, _one: False  # noqa: E731
        why = "part of the random sample"
        num_detectors = self._index.rules.num_detectors
        match queue:
            case ReviewQueue.STUDENT:
                why = self._index.why_student.get(int(rows_of_codes(np.array(code))), "a student disagreed")
            case ReviewQueue.UNSURE:
                is_asked = lambda _position, one: one.state is BoxState.UNSURE  # noqa: E731
            case ReviewQueue.DISAGREEMENT:
                is_asked = lambda _position, one: _is_disputed(one, num_detectors)  # noqa: E731
            case ReviewQueue.NEAR_THRESHOLD:
                is_asked = lambda position, one: position == box and one.verdict is None  # noqa: E731
            case ReviewQueue.CALIBRATION:
                why = ""  # a reason would influence the answer, which is a measurement
            case ReviewQueue.FILTER:
                why = self._near_filter(code)
            case ReviewQueue.BROWSING:
                why = self._fate(code)
            case _:
                pass
        marked = [(position, replace(one, is_asked=is_asked(position, one))) for position, one in boxes]
        asked = [one for _, one in marked if one.is_asked]
        return marked, "; ".join(map(self._doubt, asked)) if asked else why

    def _doubt(self, box: ReviewBox) -> str:
        confidence = box.shown.confidence or 0.0
        line = f"{box.class_name} {confidence:.2f}, threshold {self._thresholds[box.class_name]:.2f}"
        num_detectors = self._index.rules.num_detectors
        if num_detectors > 1:
            line += f", found by {box.num_agreeing_detectors} of {counted(num_detectors, 'detector')}"
        return line

    def _near_filter(self, code: int) -> str:
        headroom = self._index.headroom_of(code)
        if headroom is None:
            return self._fate(code)
        fate = "kept" if headroom >= 0 else "dropped"
        side = "above" if headroom >= 0 else "below"
        return f"{fate}, {abs(headroom):.3f} {side} the filter's threshold"

    def _fate(self, code: int) -> str:
        """Return a phrase for the state of a frame, such as "kept by the filter", with the reason if it was dropped."""
        frame_id = self._index.codes.frame_id(code)
        examined = self._index.examined
        if examined is not None and examined.position_of(code) is not None:
            return "a candidate for the next release"
        try:
            if self._filtered is None:
                self._filtered = TableByVideo(self._filtered_table, ["frame_id", "drop_reason"])
            rows = self._filtered.rows_of(self._index.codes.video_key(code)).to_pylist()
        except FileNotFoundError:  # removed after the index was read
            return "not filtered yet"
        reasons = {row["frame_id"]: row["drop_reason"] for row in rows}
        if frame_id not in reasons:
            return "not filtered yet"
        reason = reasons[frame_id]
        return "kept by the filter" if reason is None else f"dropped: {phrase_of(reason)}"

    def _pair(self, row: int, standing: Standing) -> ReviewItem | None:
        pair = self._index.pairs[row]
        frames = []
        for frame_id in (pair.frame_id, pair.representative_frame_id):
            code = self._index.codes.of_frame(frame_id)
            judged = None if code is None else self._judged(code, standing)
            if code is None or judged is None:
                return None
            frames.append(self._frame(code, review_boxes(self._index, judged), standing))
        frame, other = frames
        if frame is None or other is None:
            return None
        why = f"a duplicate: its similarity to its representative is {pair.similarity:.3f}"
        return ReviewItem(pair.frame_id, why, frame, other, pair.similarity, pair.tier)


def _key(queue: ReviewQueue, frame_id: str, box: int) -> str:
    return f"{frame_id}#{box}" if queue is ReviewQueue.NEAR_THRESHOLD else frame_id


def _is_disputed(box: ReviewBox, num_detectors: int) -> bool:
    return (
        box.verdict is None
        and box.state is not BoxState.NONE
        and box.num_agreeing_detectors is not None
        and box.num_agreeing_detectors < num_detectors
    )


def _by_state(placed: _PlacedBox) -> tuple[int, float]:
    _, box = placed
    return _ORDER.index(box.state), -(box.shown.confidence or 0.0)
