"""Rows of releases, including whether they were withdrawn. The files are in `releases/`."""

from typing import Any, cast

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ReleaseRow,
)
from data_miner_dagster.catalog.writers import insert_absent


def add_release(session: Session, release: ReleaseRow) -> None:
    """Record a release. Nothing is changed if this version of the project is already recorded."""
    values = {name: value for name, value in vars(release).items() if name in ReleaseRow.__mapper__.columns}
    insert_absent(session, ReleaseRow, [values], returning="id")


def find_releases(database: Database, project: str) -> list[ReleaseRow]:
    """Return a project's releases in order of creation."""
    with database.reading() as session:
        return list(
            session.scalars(select(ReleaseRow).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id))
        )


def num_released_videos(database: Database, project: str) -> int:
    """Return the number of videos that the project's latest release considered, or 0 if there is no release."""
    query = select(ReleaseRow.num_videos).where(ReleaseRow.project_name == project).order_by(ReleaseRow.id.desc())
    with database.reading() as session:
        return session.scalar(query.limit(1)) or 0


def withdraw_release(database: Database, project: str, version: str, reason: str) -> bool:
    """Mark a release as withdrawn for the given reason. Return False if the release is unknown or already withdrawn."""
    statement = update(ReleaseRow).where(
        ReleaseRow.project_name == project, ReleaseRow.version == version, ReleaseRow.withdrawn_reason.is_(None)
    )
    with database.transaction() as session:
        result = cast("CursorResult[Any]", session.execute(statement.values(withdrawn_reason=reason)))
        return result.rowcount == 1
