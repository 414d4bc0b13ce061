"""Apply the verdicts in force on one frame to the boxes that were detected on it.

Pure functions. Does not belong here: reading boxes and verdicts (operations/), clipping and order of released boxes
(stages/releasing.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.domain.box_shares import BoxXyxy, pixels_of
from data_miner_dagster.domain.verdicts import BOX_WORDS, SAME_BOX_IOU, Verdict, VerdictWord
from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.stages.detection.boxes import iou_matrix
from data_miner_dagster.stages.reviewing.states import BoxState, FrameClasses

UNCHANGED_BOX_IOU: Final = 0.9
"""A later verdict replaces an earlier one if it judges the box that the earlier one drew or changed. The two boxes must
have at least this IoU. It is below 1 because other tools round coordinates, but neighbouring objects overlap less."""


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A box as stored by detection, in absolute pixels. It may extend beyond the frame. Confidences are float32."""

    class_index: int
    confidence: float
    box_xyxy: BoxXyxy
    num_agreeing_detectors: int = 1
    verifier_verdict: VerifierVerdict | None = None  # None if no verifier has examined the box


@dataclass(frozen=True, slots=True)
class JudgedBox:
    """A box after the verdicts have been applied. Without a verdict, it is the detected box."""

    class_index: int
    box_xyxy: BoxXyxy
    state: BoxState
    position: int | None  # among the boxes detected on the frame, or None if only a verdict states the box
    verdict: Verdict | None = None  # the verdict that made it an object


@dataclass(frozen=True, slots=True)
class Judgement:
    """The boxes of one frame after the verdicts, without those that a person removed."""

    boxes: tuple[JudgedBox, ...]  # detected boxes in their order, then boxes that only verdicts state
    unmet: tuple[Verdict, ...]  # verdicts without effect, because they match no box and state none
    is_complete: bool  # whether a person marked the frame as complete

    @property
    def is_unsure(self) -> bool:
        """True if any of the boxes is unsure."""
        return any(box.state is BoxState.UNSURE for box in self.boxes)


def judge_boxes(
    found: Sequence[FoundBox], verdicts: Iterable[Verdict], classes: FrameClasses, resolution_wh: tuple[int, int]
) -> Judgement:
    """Apply the verdicts in force to the boxes of one frame. Verdicts with equal times are applied in the given order.

    Verdicts are matched with boxes one to one, by class and place (IoU of at least `SAME_BOX_IOU`), best pairs first.
    First, verdicts that state a resulting box are matched by that box. Then all verdicts are matched by the box that
    the person saw. A stated box replaces the box that its verdict matched, and absorbs every other detected box of its
    class in the same place. It is an object even if its verdict matched nothing. A drawn or changed box no longer
    counts once a later verdict judges it. A verdict that states no box removes the box that it matched. On a complete
    frame, unsure boxes without a verdict are not objects.

    Args:
        found: the boxes that were detected on the frame.
        verdicts: the verdicts in force on the frame. Only verdicts on boxes and COMPLETE have an effect.
        classes: the classes of the project.
        resolution_wh: the size of the frame in pixels.
    """
    given = sorted(verdicts, key=lambda verdict: verdict.given_at)  # stable
    is_complete = any(verdict.word is VerdictWord.COMPLETE for verdict in given)
    claims = [_Claim.of(verdict, classes, resolution_wh) for verdict in given if verdict.word in BOX_WORDS]
    if not claims:
        return Judgement(_unjudged(found, range(len(found)), classes, is_complete=is_complete), (), is_complete)
    inside = [_Place(box.class_index, _within(box.box_xyxy, resolution_wh)) for box in found]
    everything = range(len(found))
    stated = _pairs([claim.stated for claim in claims], inside, everything)
    seen = _pairs([claim.seen for claim in claims], inside, [row for row in everything if row not in stated.values()])
    met = {*stated.values(), *seen.values()}
    standing = [index for index, claim in enumerate(claims) if claim.stated and not _is_replaced(index, claims)]
    absorbed = {
        row
        for row in everything
        if row not in met and any(_is_same(claims[index].stated, inside[row]) for index in standing)
    }
    objects = [_object_of(claims[index], stated.get(index, seen.get(index))) for index in standing]
    rest = _unjudged(found, [row for row in everything if row not in met | absorbed], classes, is_complete=is_complete)
    detected = sorted((box for box in (*rest, *objects) if box.position is not None), key=lambda box: box.position or 0)
    drawn = [box for box in objects if box.position is None]
    unmet = tuple(
        claim.verdict
        for index, claim in enumerate(claims)
        if index not in stated and index not in seen and claim.stated is None and not _replaces_any(index, claims)
    )
    return Judgement((*detected, *drawn), unmet, is_complete)


@dataclass(frozen=True, slots=True)
class _Place:
    class_index: int
    box_xyxy: BoxXyxy


@dataclass(frozen=True, slots=True)
class _Claim:
    """A verdict in the frame's pixel coordinates. `stated` is the box after the verdict, `seen` the box before it."""

    verdict: Verdict
    stated: _Place | None
    seen: _Place | None

    @classmethod
    def of(cls, verdict: Verdict, classes: FrameClasses, resolution_wh: tuple[int, int]) -> "_Claim":
        def place(name: str | None, box: tuple[float, float, float, float] | None) -> _Place | None:
            if name is None or box is None or name not in classes.names:
                return None
            return _Place(classes.names.index(name), pixels_of(box, resolution_wh))

        shown = verdict.shown
        is_drawn = verdict.word is VerdictWord.MISSING
        return cls(
            verdict,
            stated=place(verdict.final_class_name, verdict.final_box),
            seen=None if shown is None or is_drawn else place(shown.class_name, shown.box),
        )


def _object_of(claim: _Claim, position: int | None) -> JudgedBox:
    assert claim.stated is not None
    return JudgedBox(claim.stated.class_index, claim.stated.box_xyxy, BoxState.OBJECT, position, claim.verdict)


def _unjudged(
    found: Sequence[FoundBox], rows: Iterable[int], classes: FrameClasses, *, is_complete: bool
) -> tuple[JudgedBox, ...]:
    boxes = []
    for row in rows:
        box = found[row]
        state = classes.ranges[box.class_index].state_of(
            box.confidence, num_agreeing_detectors=box.num_agreeing_detectors
        )
        state = classes.verifier.state_of(state, box.verifier_verdict)
        if state is BoxState.UNSURE and is_complete:
            state = BoxState.NONE
        boxes.append(JudgedBox(box.class_index, box.box_xyxy, state, row))
    return tuple(boxes)


def _pairs(claimed: Sequence[_Place | None], inside: Sequence[_Place], rows: Iterable[int]) -> dict[int, int]:
    """Return {position of a claim: row of a box} for the claims that match a box, one to one.

    Pairs are matched in order of descending IoU. On a tie, the earlier claim wins, then the earlier box.
    """
    candidates = [
        (-_iou(place.box_xyxy, inside[row].box_xyxy), index, row)
        for row in rows
        for index, place in enumerate(claimed)
        if place is not None and place.class_index == inside[row].class_index
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for negative_iou, index, row in sorted(candidates):
        if -negative_iou >= SAME_BOX_IOU and index not in pairs and row not in taken:
            pairs[index] = row
            taken.add(row)
    return pairs


def _is_replaced(index: int, claims: Sequence[_Claim]) -> bool:
    return any(_replaces(claims[later], claims[index]) for later in range(index + 1, len(claims)))


def _replaces_any(index: int, claims: Sequence[_Claim]) -> bool:
    return any(_replaces(claims[index], claims[earlier]) for earlier in range(index))


def _replaces(later: _Claim, earlier: _Claim) -> bool:
    """Return whether a verdict judges the box that an earlier one drew or changed, or redraws another person's box."""
    is_made = earlier.verdict.word in (VerdictWord.MISSING, VerdictWord.SHIFTED, VerdictWord.OTHER_CLASS)
    if later.verdict.word is VerdictWord.MISSING:
        by_another = later.verdict.who != earlier.verdict.who
        return is_made and by_another and _is_same(earlier.stated, later.stated)
    return is_made and _is_same(earlier.stated, later.seen, at_least=UNCHANGED_BOX_IOU)


def _is_same(one: _Place | None, other: _Place | None, *, at_least: float = SAME_BOX_IOU) -> bool:
    if one is None or other is None or one.class_index != other.class_index:
        return False
    return _iou(one.box_xyxy, other.box_xyxy) >= at_least


def _iou(one: BoxXyxy, other: BoxXyxy) -> float:
    return float(iou_matrix(np.array([one], np.float64), np.array([other], np.float64))[0, 0])


def _within(box_xyxy: BoxXyxy, resolution_wh: tuple[int, int]) -> BoxXyxy:
    (x_min, y_min, x_max, y_max), (width, height) = box_xyxy, resolution_wh
    return min(max(x_min, 0), width), min(max(y_min, 0), height), min(max(x_max, 0), width), min(max(y_max, 0), height)
