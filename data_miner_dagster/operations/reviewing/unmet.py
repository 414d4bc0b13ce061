"""Find verdicts that currently match nothing in a project.

Such verdicts stay stored, and apply again if their subject returns.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from data_miner_dagster.domain.verdicts import BOX_WORDS, FramePlace, Verdict, VerdictWord
from data_miner_dagster.operations.reviewing.index import ReviewIndex
from data_miner_dagster.operations.reviewing.shown_frames import ShownFrames
from data_miner_dagster.operations.reviewing.standing import Standing


class UnmetReason(StrEnum):
    """The reason why a verdict matches nothing in the project. The values are human-readable."""

    NO_VIDEO = "the project has no frames of this video"
    NO_FRAME = "the video has no frame at this time"
    NO_CLASS = "the class is not in the class list"
    NOT_EXAMINED = "no detector has examined the frame, for example because it is dropped or a duplicate"
    NO_BOX = "the frame no longer has a box of this class at this position"


@dataclass(frozen=True, slots=True)
class UnmetVerdict:
    """A verdict in force, and the reason why it matches nothing."""

    verdict: Verdict
    reason: UnmetReason


def unmet_verdicts(
    index: ReviewIndex, frames: ShownFrames, standing: Standing, verdicts: Iterable[Verdict]
) -> tuple[UnmetVerdict, ...]:
    """Return the verdicts that match nothing in the project, each with the reason, in the given order.

    Args:
        index: the index of the project.
        frames: the lookup for the frames that the verdicts are about.
        standing: the standing computed from `verdicts`.
        verdicts: the verdicts in force.
    """
    found = []
    for verdict in verdicts:
        reason = _why_unmet(index, frames, standing, verdict)
        if reason is not None:
            found.append(UnmetVerdict(verdict, reason))
    return tuple(found)


def _why_unmet(index: ReviewIndex, frames: ShownFrames, standing: Standing, verdict: Verdict) -> UnmetReason | None:
    places = [verdict.place] if verdict.other_place is None else [verdict.place, verdict.other_place]
    for place in places:
        reason = _why_no_frame(index, frames, place)
        if reason is not None:
            return reason
    if verdict.word not in BOX_WORDS | {VerdictWord.COMPLETE, VerdictWord.REPRESENTATIVE}:
        return None
    if verdict.shown is not None:
        name = verdict.final_class_name or verdict.shown.class_name
        if name not in index.config.detection.classes:
            return UnmetReason.NO_CLASS
    frame_id = frames.frame_at(verdict.place)
    code = None if frame_id is None else index.codes.of_frame(frame_id)
    if code is None or index.examined is None or index.examined.position_of(code) is None:
        return UnmetReason.NOT_EXAMINED
    judged = standing.judged.get(code)
    if judged is not None and any(one.answer_id == verdict.answer_id for one in judged.judgement.unmet):
        return UnmetReason.NO_BOX
    return None


def _why_no_frame(index: ReviewIndex, frames: ShownFrames, place: FramePlace) -> UnmetReason | None:
    first, end = index.codes.of_video(place.video_key)
    if first == end:
        return UnmetReason.NO_VIDEO
    return UnmetReason.NO_FRAME if frames.frame_at(place) is None else None
