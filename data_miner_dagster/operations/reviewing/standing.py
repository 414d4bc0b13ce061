"""Determine which questions of an index are answered by the verdicts in force, and how the verdicts change the rest."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from data_miner_dagster.domain.verdicts import (
    BOX_WORDS,
    FRAME_WORDS,
    PAIR_WORDS,
    ReviewQueue,
    Verdict,
    VerdictWord,
)
from data_miner_dagster.operations.reviewing.calibrating import CalibrationQuestions
from data_miner_dagster.operations.reviewing.frames import rows_of_codes
from data_miner_dagster.operations.reviewing.index import ReviewIndex
from data_miner_dagster.operations.reviewing.judged_frames import JudgedFrame, judge_frame
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.stages.reviewing_queues import FrameFacts, Int64Array

_OF_FRAMES: Final = BOX_WORDS | {VerdictWord.COMPLETE}
_NO_ROWS: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdicts in force by frame, and the questions that they answer.

    `facts` are the facts of the index, updated for judged frames.
    """

    judged: Mapping[int, JudgedFrame]  # by code: frames with verdicts on boxes, or COMPLETE
    said: Mapping[int, Mapping[VerdictWord, str]]  # by code: KEEP, DROP and COMPLETE, with their answer ids
    facts: FrameFacts
    settled: Mapping[ReviewQueue, Int64Array]  # rows of the answered questions; UNSURE and DISAGREEMENT use `facts`
    num_answered: Mapping[ReviewQueue, int]  # verdicts by queue; for CALIBRATION, the answered planned questions
    calibration: CalibrationQuestions | None


class StandingKeeper:
    """Computes the `Standing` of one index. A frame is judged again only if its verdicts have changed."""

    def __init__(self, index: ReviewIndex, frames: ShownFrames) -> None:
        self._index = index
        self._frames = frames
        self._judged: dict[int, JudgedFrame] = {}

    def standing(self, verdicts: Sequence[Verdict], calibration: CalibrationQuestions | None) -> Standing:
        """Return the `Standing` for the verdicts in force and the calibration questions.

        Args:
            verdicts: the verdicts in force, oldest first.
            calibration: the current questions of the filter's calibration, or None if there are none.
        """
        by_code: dict[int, list[Verdict]] = {}
        frame_at = cache(self._frames.frame_at)
        for verdict in verdicts:
            frame_id = None if verdict.word in PAIR_WORDS else frame_at(verdict.place)
            code = None if frame_id is None else self._index.codes.of_frame(frame_id)
            if code is not None:
                by_code.setdefault(code, []).append(verdict)
        self._judge(by_code)
        said = {code: _words_on(given) for code, given in by_code.items()}
        by_hand = rows_of_codes(_codes(code for code, words in said.items() if FRAME_WORDS & words.keys()))
        # Imported answers neither keep nor drop frames, but their questions are not asked again.
        if calibration is not None:
            by_hand = np.union1d(by_hand, calibration.answered_by_files)
        num_answered = Counter(verdict.queue for verdict in verdicts)
        num_answered[ReviewQueue.CALIBRATION] = (
            0 if calibration is None else int(np.isin(calibration.planned, by_hand).sum())
        )
        complete = _codes(code for code, words in said.items() if VerdictWord.COMPLETE in words)
        return Standing(
            judged=dict(self._judged),
            said={code: words for code, words in said.items() if words},
            facts=self._facts(),
            settled={
                ReviewQueue.STUDENT: rows_of_codes(_codes(self._judged)),
                ReviewQueue.NEAR_THRESHOLD: self._met_boxes(),
                ReviewQueue.RANDOM: rows_of_codes(complete),
                ReviewQueue.CALIBRATION: by_hand,
                ReviewQueue.FILTER: by_hand,
                ReviewQueue.DUPLICATES: self._settled_pairs(verdicts),
            },
            num_answered=num_answered,
            calibration=calibration,
        )

    def _judge(self, by_code: Mapping[int, Sequence[Verdict]]) -> None:
        """Set `_judged` to the judged frames. Frames whose verdicts have not changed are taken from the last call."""
        wanted: dict[int, JudgedFrame] = {}
        for code, given in by_code.items():
            on_boxes = [verdict for verdict in given if verdict.word in _OF_FRAMES]
            if not on_boxes:
                continue
            known = self._judged.get(code)
            if known is not None and list(known.verdicts) == [verdict.answer_id for verdict in on_boxes]:
                wanted[code] = known
                continue
            size = self._frames.resolution_of(self._index.codes.frame_id(code))
            if size is not None:
                wanted[code] = judge_frame(self._index, code, on_boxes, size)
        self._judged = wanted

    def _facts(self) -> FrameFacts:
        """Return the facts of the index, updated so that only boxes without a verdict count on judged frames.

        A complete frame counts as a frame without boxes.
        """
        index, examined = self._index, self._index.examined
        if examined is None or not self._judged:
            return index.facts
        positions, open_boxes = [], [_NO_ROWS]
        for code, frame in self._judged.items():
            position = examined.position_of(code)
            if position is not None:
                positions.append(position)
                if not frame.judgement.is_complete:
                    first = examined.boxes_of(position).start
                    open_boxes.append(first + np.array(sorted(frame.open_positions), np.int64))
        facts = index.facts.copy()
        facts.clear(np.array(positions, np.int64))
        facts.add(examined.boxes.arrays.some(np.concatenate(open_boxes)), index.rules, index.num_objects)
        return facts

    def _met_boxes(self) -> Int64Array:
        """Return the rows of the detected boxes that have a verdict or are absorbed by a box stated in a verdict."""
        found = [_NO_ROWS]
        for code, frame in self._judged.items():
            met = sorted(set(range(len(frame.found))) - frame.open_positions)
            found.append(rows_of_codes(np.full(len(met), code, np.int64), np.array(met, np.int64)))
        return np.concatenate(found)

    def _settled_pairs(self, verdicts: Iterable[Verdict]) -> Int64Array:
        said = {
            frozenset((self._frames.frame_at(verdict.place), self._frames.frame_at(verdict.other_place)))
            for verdict in verdicts
            if verdict.word in PAIR_WORDS and verdict.other_place is not None
        }
        rows = [
            row
            for row, pair in self._index.pairs.items()
            if frozenset((pair.frame_id, pair.representative_frame_id)) in said
        ]
        return np.array(sorted(rows), np.int64)


def _words_on(given: Iterable[Verdict]) -> dict[VerdictWord, str]:
    """Return the words of the verdicts on a frame as a whole, with their answer ids.

    The words in FRAME_WORDS contradict each other, so only the last of them is included.
    """
    said: dict[VerdictWord, str] = {}
    for one in given:
        if one.word in FRAME_WORDS:
            said = {word: answer_id for word, answer_id in said.items() if word not in FRAME_WORDS}
        if one.word in FRAME_WORDS | {VerdictWord.COMPLETE}:
            said[one.word] = one.answer_id
    return said


def _codes(codes: Iterable[int]) -> Int64Array:
    return np.array(sorted(codes), np.int64)
