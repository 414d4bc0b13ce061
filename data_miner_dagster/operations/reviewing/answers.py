"""Check an answer from a review page against the project, convert it into a verdict, and store the verdict."""

from dataclasses import replace
from typing import Final

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts, find_verdict
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ShownBox, Verdict, VerdictWord
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reviewing.index import ReviewIndex
from data_miner_dagster.operations.reviewing.judged_frames import judge_frame, review_boxes
from data_miner_dagster.operations.reviewing.records import Answer
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames

_SAME_SHARE: Final = 1e-6
_MAX_WHO: Final = 200
_MAX_ID: Final = 64


class AnswerReader:
    """Converts answers into verdicts after checking that the project has their frames and classes."""

    def __init__(self, project: str, index: ReviewIndex, frames: ShownFrames) -> None:
        self._project = project
        self._index = index
        self._frames = frames

    def verdict_of(self, answer: Answer, *, who: str) -> Verdict:
        """Return the verdict that corresponds to an answer given by `who`. Nothing is stored.

        Raises:
            ConfigError: the project has no such frame or class, the answer's id or `who` is empty or too long, or the
                answer lacks a part that its `word` requires or has a box outside the frame.
        """
        if not 0 < len(answer.answer_id) <= _MAX_ID:
            raise ConfigError(f"{answer.answer_id!r} is not a valid answer id; use 1 to {_MAX_ID} characters")
        if not 0 < len(who.strip()) <= _MAX_WHO:
            raise ConfigError(f"{who!r} is not a valid name for an author; use 1 to {_MAX_WHO} characters")
        place = self._place_of(answer.frame_id, answer.pts_seconds)
        return Verdict(
            answer_id=answer.answer_id,
            word=answer.word,
            place=place,
            frame_id=answer.frame_id,
            queue=answer.queue,
            who=who.strip(),
            given_at=utc_now(),
            shown=None if answer.shown is None else self._shown(answer, answer.shown),
            new_class_name=None if answer.new_class_name is None else self._class_of(answer.new_class_name),
            new_box=answer.new_box,
            other_place=None if answer.other_frame_id is None else self._place_of(answer.other_frame_id),
            other_frame_id=answer.other_frame_id,
            replaces=answer.replaces,
        )

    def _place_of(self, frame_id: str, pts_seconds: float | None = None) -> FramePlace:
        """Return the place of a frame. If the id now belongs to another time, the frame at `pts_seconds` is used.

        Raises:
            ConfigError: the project has no such frame.
        """
        try:
            is_of_project = self._index.codes.of_frame(frame_id) is not None
            place = self._frames.place_of(frame_id) if is_of_project else None
        except ValueError:
            place = None
        if place is not None and pts_seconds is not None and place.pts_seconds != pts_seconds:
            place = FramePlace(place.video_key, pts_seconds)
            if self._frames.frame_at(place) is None:
                place = None
        if place is None:
            at = "" if pts_seconds is None else f" at {pts_seconds:g} s"
            raise ConfigError(f"project {self._project!r} has no frame {frame_id}{at}; reload the page")
        return place

    def _class_of(self, name: str) -> str:
        classes = self._index.config.detection.classes
        if name not in classes:
            raise ConfigError(f"project {self._project!r} has no class {name!r}; use one of {', '.join(classes)}")
        return name

    def _shown(self, answer: Answer, shown: ShownBox) -> ShownBox:
        """Return the stored box that a person saw. If it is no longer stored, return the box that the page sent.

        For MISSING, the person drew the box, so it has no detector, revision or confidence.
        """
        self._class_of(shown.class_name)
        if answer.word is VerdictWord.MISSING:
            return replace(shown, detector=None, revision=None, confidence=None)
        code, size = self._index.codes.of_frame(answer.frame_id), self._frames.resolution_of(answer.frame_id)
        if code is not None and size is not None:
            for _, box in review_boxes(self._index, judge_frame(self._index, code, (), size)):
                if box.class_name == shown.class_name and _is_same(box.shown.box, shown.box):
                    return box.shown
        return shown


def _is_same(one: RelativeBox, other: RelativeBox) -> bool:
    return all(abs(a - b) <= _SAME_SHARE for a, b in zip(one, other, strict=True))


def store_answer(platform: Platform, project: str, reader: AnswerReader, answer: Answer, *, who: str) -> Verdict:
    """Store an answer as a verdict unless its id is already stored. Return the verdict stored under that id.

    Raises:
        ConfigError: the answer is invalid (see `AnswerReader.verdict_of`).
    """
    verdict = reader.verdict_of(answer, who=who)
    if add_verdicts(platform.database, project, [verdict]):
        return verdict
    stored = find_verdict(platform.database, project, answer.answer_id)
    return verdict if stored is None else stored.verdict
