"""Apply people's verdicts to the detected boxes of a frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from data_miner_dagster.domain.box_shares import BoxXyxy, shares_of
from data_miner_dagster.domain.verdicts import ShownBox, Verdict, VerdictWord
from data_miner_dagster.domain.verification import VERDICT_CODES
from data_miner_dagster.operations.reviewing.frames import ExaminedFrames
from data_miner_dagster.operations.reviewing.index import ReviewIndex
from data_miner_dagster.operations.reviewing.records import ReviewBox
from data_miner_dagster.stages.reviewing.judging import FoundBox, JudgedBox, Judgement, judge_boxes
from data_miner_dagster.stages.reviewing.states import BoxState

CONFIDENCE_DECIMALS: Final = 4
"""The number of decimal places in the confidences that detection stores."""


@dataclass(frozen=True, slots=True)
class JudgedFrame:
    """One frame's detected boxes, and the boxes that result from people's verdicts on them."""

    found: tuple[FoundBox, ...]
    judgement: Judgement
    resolution_wh: tuple[int, int]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # the frame's verdicts in force, by answer id

    @property
    def open_positions(self) -> frozenset[int]:
        """The positions of the detected boxes without a verdict."""
        return frozenset(
            box.position for box in self.judgement.boxes if box.position is not None and box.verdict is None
        )


def judge_frame(
    index: ReviewIndex, code: int, verdicts: Sequence[Verdict], resolution_wh: tuple[int, int]
) -> JudgedFrame:
    """Return a frame with its verdicts applied. A frame that no detector has examined has only drawn boxes.

    Args:
        index: the index of the project.
        code: the code of the frame.
        verdicts: the verdicts in force on the frame's boxes and on its completeness, oldest first.
        resolution_wh: the size (width, height) of the frame in pixels.
    """
    found = tuple(_found(index.examined, code)) if index.examined is not None else ()
    judgement = judge_boxes(found, verdicts, index.classes, resolution_wh)
    return JudgedFrame(found, judgement, resolution_wh, {verdict.answer_id: verdict for verdict in verdicts})


def _found(examined: ExaminedFrames, code: int) -> list[FoundBox]:
    position = examined.position_of(code)
    if position is None:
        return []
    where, arrays = examined.boxes_of(position), examined.boxes.arrays
    columns = (
        arrays.classes[where].tolist(),
        arrays.confidences[where].tolist(),
        (_corners(row) for row in examined.boxes.corners[where].tolist()),
        arrays.num_agreeing[where].tolist(),
        (VERDICT_CODES[code] for code in arrays.verdicts[where].tolist()),
    )
    return [FoundBox(*values) for values in zip(*columns, strict=True)]


def _corners(row: list[float]) -> BoxXyxy:
    x_min, y_min, x_max, y_max = row
    return x_min, y_min, x_max, y_max


def review_boxes(index: ReviewIndex, frame: JudgedFrame) -> list[tuple[int | None, ReviewBox]]:
    """Return the boxes to show on a frame, each with its position among the detected boxes or None.

    Boxes that a person judged to be wrong come last. Wrong and drawn boxes have the position None. Detected boxes that
    lie outside the frame are left out.
    """
    names = index.classes.names
    shown = [(box.position, _review_box(index, frame, names, box)) for box in frame.judgement.boxes]
    removed: list[tuple[int | None, ReviewBox]] = [
        (None, _removed(verdict)) for verdict in frame.verdicts.values() if verdict.word is VerdictWord.WRONG
    ]
    return [(position, box) for position, box in shown if box is not None] + removed


def _review_box(index: ReviewIndex, frame: JudgedFrame, names: Sequence[str], box: JudgedBox) -> ReviewBox | None:
    verdict = box.verdict
    agreeing = None if box.position is None else frame.found[box.position].num_agreeing_detectors
    if verdict is not None and verdict.shown is not None:
        share = verdict.final_box or verdict.shown.box
        name = names[box.class_index]
        return ReviewBox(name, share, box.state, verdict.shown, agreeing, verdict.word, verdict.answer_id)
    shares = shares_of(box.box_xyxy, frame.resolution_wh)
    if shares is None or box.position is None or index.examined is None:
        return None
    detected = ShownBox(
        class_name=names[box.class_index],
        box=shares,
        detector=index.examined.detector,
        revision=index.examined.revision,
        confidence=round(frame.found[box.position].confidence, CONFIDENCE_DECIMALS),
    )
    return ReviewBox(detected.class_name, shares, box.state, detected, agreeing)


def _removed(verdict: Verdict) -> ReviewBox:
    assert verdict.shown is not None
    shown = verdict.shown
    return ReviewBox(shown.class_name, shown.box, BoxState.NONE, shown, None, verdict.word, verdict.answer_id)
