"""Find videos that may be identical to others. Does not belong here: deciding which ones are identical (stages/)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.writers import Topic, lock_topic

_VIDEO: Final = cast("Table", VideoRow.__table__).c
_OTHERS: Final = (
    select(_VIDEO.key, _VIDEO.duplicate_of, _VIDEO.content_fingerprint)
    .where(_VIDEO.key != bindparam("key"), _VIDEO.duplicate_of.is_distinct_from(bindparam("key")))
    .order_by(_VIDEO.created_at, _VIDEO.key)
)
_SAME_BYTES: Final = _OTHERS.where(_VIDEO.sha256 == bindparam("sha256")).limit(1)
_NEAR: Final = _OTHERS.where(
    _VIDEO.content_fingerprint.is_not(None),
    _VIDEO.duration_seconds.between(bindparam("shortest"), bindparam("longest")),
)


@dataclass(frozen=True, slots=True)
class SimilarVideo:
    """A possible duplicate of a video. `duplicate_of` is the key of its known original, or None."""

    key: str
    duplicate_of: str | None


def lock_content(session: Session) -> None:
    """Prevent other transactions from deciding which videos are identical until this transaction ends.

    If two runs download the same content at the same time, the second one to decide therefore finds the result of the
    first. Call this before any row is locked.
    """
    lock_topic(session, Topic.CONTENT)


def first_of_same_bytes(session: Session, video_key: str, sha256: str) -> SimilarVideo | None:
    """Return the other video with this sha256 that was added first, or None if no other video has it.

    Known duplicates of the video `video_key` are ignored.
    """
    row = session.execute(_SAME_BYTES, {"key": video_key, "sha256": sha256}).first()
    return None if row is None else SimilarVideo(row.key, row.duplicate_of)


def of_same_bytes(session: Session, video_key: str, sha256: str) -> list[str]:
    """Return the keys of the other videos whose files have this sha256, in the order in which they were added."""
    others = select(_VIDEO.key).where(_VIDEO.sha256 == sha256, _VIDEO.key != video_key)
    return list(session.scalars(others.order_by(_VIDEO.created_at, _VIDEO.key)))


def originals_first(database: Database, video_keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the keys of videos into two lists that keep the given order: originals and repetitions.

    A repetition has the same bytes as one of the originals. Of the given videos with the same bytes, the original is
    the one that was added to the catalog first. Videos without a recorded sha256 count as originals.
    """
    query = select(_VIDEO.key, _VIDEO.sha256, _VIDEO.created_at).where(_VIDEO.sha256.is_not(None))
    with database.reading() as session:
        rows = [row for some in portions(video_keys) for row in session.execute(query.where(_VIDEO.key.in_(some)))]
    seen: set[str] = set()
    repeated: set[str] = set()
    for key, sha256, _ in sorted(rows, key=lambda row: (row.created_at, row.key)):
        if sha256 in seen:
            repeated.add(key)
        seen.add(sha256)
    return [key for key in video_keys if key not in repeated], [key for key in video_keys if key in repeated]


def of_like_duration(
    session: Session, video_key: str, *, shortest_seconds: float, longest_seconds: float
) -> Iterator[tuple[SimilarVideo, str]]:
    """Yield the other videos with a duration between these bounds (inclusive), each with its content fingerprint.

    The videos are in the order in which they were added to the catalog. Videos without a fingerprint, and known
    duplicates of the video `video_key`, are ignored.
    """
    window = {"shortest": shortest_seconds, "longest": longest_seconds}
    for row in session.execute(_NEAR, {"key": video_key, **window}):
        yield SimilarVideo(row.key, row.duplicate_of), row.content_fingerprint
