"""Derive verdicts from the results of another tool by comparing the exported boxes with those that it returned.

Pure functions. Does not belong here: reading files (export/), storing verdicts (operations/reviewing/round_trips.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.domain.box_shares import pixels_of
from data_miner_dagster.domain.corrections import ReturnedBox
from data_miner_dagster.domain.verdicts import SAME_BOX_IOU, RelativeBox, ShownBox, Verdict, VerdictWord
from data_miner_dagster.stages.detection.boxes import iou_matrix

SAME_PLACE_PIXELS: Final = 1.0
"""A box counts as moved if one of its edges has moved by more than this. Tools that store integer pixels round the
corner and the size, which moves an edge by up to a pixel."""
SHARE_DECIMALS: Final = 6
"""The number of decimal places to which relative coordinates are rounded, so that verdicts on the same box
are recognized as such."""


@dataclass(frozen=True, slots=True)
class SentBox:
    """A box as it was exported. `answer` is the verdict in force that produced it, if there is one."""

    box_id: str
    class_name: str
    box: RelativeBox
    shown: ShownBox  # this box with its detector, revision and confidence, unless a person drew it
    answer: Verdict | None = None

    @property
    def judged(self) -> ShownBox:
        """The box that a verdict refers to. For a box that a person has changed, this is the box as it was detected."""
        return self.shown if self.answer is None or self.answer.shown is None else self.answer.shown


@dataclass(frozen=True, slots=True)
class Correction:
    """A person's verdict on one box, before it is stored as a `Verdict`."""

    word: VerdictWord
    shown: ShownBox
    new_class_name: str | None = None  # for OTHER_CLASS only
    new_box: RelativeBox | None = None  # for SHIFTED only
    replaces: str | None = None  # the id of the verdict that this one replaces, or None if the box had no verdict

    @property
    def is_change(self) -> bool:
        """True if the returned file differs from the exported one in this box."""
        return self.word is not VerdictWord.RIGHT or self.replaces is not None


def corrections(
    sent: Sequence[SentBox], returned: Sequence[ReturnedBox], resolution_wh: tuple[int, int]
) -> tuple[Correction, ...]:
    """Return the verdicts of a person who examined the whole image in another tool.

    Boxes are matched one to one: first by id, then by place (IoU of at least `SAME_BOX_IOU`), with boxes of the same
    class first. A box that was returned unchanged is right, or keeps its verdict. A box that was not returned is wrong.
    If a box was returned with another class and in another place, the exported box counts as wrong, and the returned
    one as missing. A box that the person left undecided gets no verdict.

    Args:
        sent: the exported boxes of the image, each with a unique id.
        returned: the returned boxes. Parts outside the image are cut off.
        resolution_wh: the size of the image in pixels.
    """
    found = [box for box in map(_within, returned) if box is not None]
    pairs = _pairs(sent, found, resolution_wh)
    said: list[Correction] = []
    for position, box in enumerate(sent):
        other = found[pairs[position]] if position in pairs else None
        if other is None or not other.is_undecided:
            said += _on_sent(box, other, resolution_wh)
    drawn = sorted(set(range(len(found))) - set(pairs.values()))
    return (*said, *(_missing(found[position]) for position in drawn if not found[position].is_undecided))


def _within(box: ReturnedBox) -> ReturnedBox | None:
    """Return the part of a box inside the image, or None if that part is empty."""
    x_min, y_min, x_max, y_max = (round(min(max(value, 0.0), 1.0), SHARE_DECIMALS) for value in box.box)
    if not (x_min < x_max and y_min < y_max):
        return None
    return ReturnedBox(box.class_name, (x_min, y_min, x_max, y_max), box.box_id, box.is_undecided)


def _on_sent(sent: SentBox, other: ReturnedBox | None, resolution_wh: tuple[int, int]) -> Iterator[Correction]:
    judged, answer = sent.judged, sent.answer
    replaces = answer.answer_id if answer is not None else None
    if other is None:
        yield Correction(VerdictWord.WRONG, judged, replaces=replaces)
        return
    if answer is not None and _is_same(sent.class_name, sent.box, other, resolution_wh):
        return
    is_same_class = judged.class_name == other.class_name
    is_same_place = _is_same_place(judged.box, other.box, resolution_wh)
    if answer is not None and answer.word is VerdictWord.MISSING:
        yield _missing(other, replaces)
    elif is_same_class and is_same_place:
        yield Correction(VerdictWord.RIGHT, judged, replaces=replaces)
    elif is_same_class:
        yield Correction(VerdictWord.SHIFTED, judged, new_box=other.box, replaces=replaces)
    elif is_same_place:
        yield Correction(VerdictWord.OTHER_CLASS, judged, new_class_name=other.class_name, replaces=replaces)
    else:
        yield Correction(VerdictWord.WRONG, judged, replaces=replaces)
        yield _missing(other)


def _missing(box: ReturnedBox, replaces: str | None = None) -> Correction:
    return Correction(VerdictWord.MISSING, ShownBox(box.class_name, box.box), replaces=replaces)


def _is_same(class_name: str, box: RelativeBox, other: ReturnedBox, resolution_wh: tuple[int, int]) -> bool:
    return class_name == other.class_name and _is_same_place(box, other.box, resolution_wh)


def _is_same_place(one: RelativeBox, other: RelativeBox, resolution_wh: tuple[int, int]) -> bool:
    edges = zip(pixels_of(one, resolution_wh), pixels_of(other, resolution_wh), strict=True)
    return all(abs(edge - other_edge) <= SAME_PLACE_PIXELS + 1e-3 for edge, other_edge in edges)


def _pairs(sent: Sequence[SentBox], found: Sequence[ReturnedBox], resolution_wh: tuple[int, int]) -> dict[int, int]:
    """Return {position of an exported box: position of the returned box that matches it}, one to one."""
    if not sent or not found:
        return {}
    ious = iou_matrix(
        np.array([pixels_of(box.box, resolution_wh) for box in sent], np.float64),
        np.array([pixels_of(box.box, resolution_wh) for box in found], np.float64),
    )
    by_name: list[tuple[float, int, int]] = []
    by_place: list[tuple[bool, float, int, int]] = []
    for row, box in enumerate(sent):
        for column, other in enumerate(found):
            iou = float(ious[row, column])
            if box.box_id == other.box_id:  # a copied box has the id of the original
                by_name.append((-iou, row, column))
            elif iou >= SAME_BOX_IOU:
                by_place.append((box.class_name != other.class_name, -iou, row, column))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    best_first = [pair[-2:] for pair in sorted(by_name)] + [pair[-2:] for pair in sorted(by_place)]
    for row, column in best_first:
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return pairs
