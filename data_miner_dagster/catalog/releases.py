"""Releases as rows: what was made of which project, and what was withdrawn. Their files are in `releases/`."""

from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ReleaseRow,
)


def add_release(session: Session, release: ReleaseRow) -> None:
    """Record a release, once: a second call with the same version changes nothing."""
    known = session.scalar(
        select(ReleaseRow).where(ReleaseRow.project_name == release.project_name, ReleaseRow.version == release.version)
    )
    if known is None:
        session.add(release)


def find_releases(database: Database, project: str) -> list[ReleaseRow]:
    """Return a project's releases in order of making."""
    with database.reading() as session:
        return list(
            session.scalars(select(ReleaseRow).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id))
        )


def num_released_videos(database: Database, project: str) -> int:
    """Return how many videos the project's latest release considered, 0 if it has none."""
    query = select(ReleaseRow.num_videos).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id.desc())
    with database.reading() as session:
        return session.scalar(query.limit(1)) or 0


def withdraw_release(database: Database, project: str, version: str, reason: str) -> bool:
    """Mark a release as withdrawn, with the first reason given; return False if it was, or is unknown."""
    statement = update(ReleaseRow).where(
        ReleaseRow.project_name == project, ReleaseRow.version == version, ReleaseRow.withdrawn_reason.is_(None)
    )
    with database.transaction() as session:
        result = cast("CursorResult[Any]", session.execute(statement.values(withdrawn_reason=reason)))
        return result.rowcount == 1
