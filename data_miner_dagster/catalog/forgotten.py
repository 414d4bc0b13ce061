"""The subjects (videos and channels) that were removed on request (`data-miner forget`) and must not be added again."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ForgottenRow,
)
from data_miner_dagster.catalog.writers import Topic, insert_absent, lock_topic
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.domain.records import VideoCandidate


def without_forgotten(database: Database, candidates: Sequence[VideoCandidate]) -> list[VideoCandidate]:
    """Return the candidates in the given order, except those whose video or channel was removed on request."""
    with database.reading() as session:
        forgotten = _forgotten_of(session, candidates)
    return [candidate for candidate in candidates if candidate.video_key not in forgotten]


def forgotten_among(session: Session, candidates: Sequence[VideoCandidate]) -> set[str]:
    """Return the keys of the candidates whose video or channel was removed on request.

    Until this transaction ends, no other transaction can record a removal.
    """
    lock_topic(session, Topic.FORGOTTEN, is_shared=True)
    return _forgotten_of(session, candidates)


def _forgotten_of(session: Session, candidates: Sequence[VideoCandidate]) -> set[str]:
    forgotten = set(session.scalars(select(ForgottenRow.subject)))
    return {
        candidate.video_key
        for candidate in candidates
        if forgotten_subject("video", candidate.video_key) in forgotten
        or forgotten_subject("channel", candidate.channel_id or "") in forgotten
    }


def forgotten_subjects(database: Database) -> frozenset[str]:
    """Return all subjects that were removed on request, in the form that `forgotten_subject` returns."""
    with database.reading() as session:
        return frozenset(session.scalars(select(ForgottenRow.subject)))


def is_forgotten(database: Database, subject: str) -> bool:
    """Return whether a subject (from `forgotten_subject`) was removed on request."""
    with database.reading() as session:
        return session.get(ForgottenRow, subject) is not None


def remember_forgotten(database: Database, subjects: Collection[str], reason: str) -> None:
    """Record that these subjects (from `forgotten_subject`) were removed on request. Existing records are kept."""
    rows = [{"subject": subject, "reason": reason} for subject in sorted(set(subjects))]
    with database.transaction() as session:
        lock_topic(session, Topic.FORGOTTEN)
        insert_absent(session, ForgottenRow, rows, returning="subject")
