"""Verdicts for tests."""

from datetime import UTC, datetime

from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.verdicts import FramePlace, RelativeBox, ReviewQueue, ShownBox, Verdict, VerdictWord

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def frame_verdict(frame_id: str, pts_seconds: float, word: VerdictWord, *, who: str = "Ada") -> Verdict:
    """Return a verdict on a frame."""
    place = FramePlace(split_frame_id(frame_id)[0], pts_seconds)
    return Verdict(f"{frame_id}-{word}-{who}", word, place, frame_id, ReviewQueue.FILTER, who, NOON)


def box_verdict(
    frame_id: str, pts_seconds: float, word: VerdictWord, shown: tuple[str, RelativeBox], **changes: object
) -> Verdict:
    """Return a verdict on a box; `shown` is its class name and relative box, and `changes` replace other fields."""
    place = FramePlace(split_frame_id(frame_id)[0], pts_seconds)
    answer_id = f"{frame_id}-{word}-{shown}"
    fields: dict[str, object] = {"queue": ReviewQueue.BROWSING, "who": "Ada", "given_at": NOON, **changes}
    return Verdict(answer_id, word, place, frame_id, shown=ShownBox(*shown), **fields)  # type: ignore[arg-type]
