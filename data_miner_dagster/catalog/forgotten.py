"""Subjects that were removed on request and must not come back (`data-miner forget`)."""

from collections.abc import Collection, Sequence

from sqlalchemy import select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ForgottenRow,
)
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.domain.records import VideoCandidate


def without_forgotten(database: Database, candidates: Sequence[VideoCandidate]) -> list[VideoCandidate]:
    """Return the candidates that were not removed on request, in order (`data-miner forget`)."""
    with database.reading() as session:
        forgotten = set(session.scalars(select(ForgottenRow.subject)))
    return [
        candidate
        for candidate in candidates
        if forgotten_subject("video", candidate.video_key) not in forgotten
        and forgotten_subject("channel", candidate.channel_id or "") not in forgotten
    ]


def is_forgotten(database: Database, subject: str) -> bool:
    """Return whether a subject (from `forgotten_subject`) was removed on request."""
    with database.reading() as session:
        return session.get(ForgottenRow, subject) is not None


def remember_forgotten(database: Database, subjects: Collection[str], reason: str) -> None:
    """Record that these subjects (from `forgotten_subject`) were removed on request. Idempotent."""
    with database.transaction() as session:
        for subject in sorted(set(subjects)):
            if session.get(ForgottenRow, subject) is None:
                session.add(ForgottenRow(subject=subject, reason=reason))
