"""Rewrite stored texts (errors, reasons, queries) that contain words that must not be stored."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ProjectRow,
    ProjectVideoRow,
    ReleaseRow,
    SiteGateRow,
    SourceListingRow,
    VideoRow,
)
from data_miner_dagster.catalog.work_tables import AttemptRow, HoldRow, StageGateRow, WorkBatchRow

_OF_PROJECTS: Final = (ProjectVideoRow.query, ProjectVideoRow.reason, SourceListingRow.query, SourceListingRow.error)
_OF_LISTINGS: Final = (SourceListingRow.query, SourceListingRow.error, SourceListingRow.passed_over)
_SAID: Final = (
    ProjectRow.error,
    VideoRow.error,
    ProjectVideoRow.reason,
    ReleaseRow.withdrawn_reason,
    SiteGateRow.reason,
    AttemptRow.message,
    HoldRow.reason,
    StageGateRow.reason,
    WorkBatchRow.reason,
)


def reword_listings(database: Database, project: str, reword: Callable[[str], str]) -> None:
    """Use `reword` to rewrite the queries, reasons and errors of a project's memberships and listings.

    A listing whose query would change is deleted.
    """
    with database.transaction() as session:
        for column in _OF_PROJECTS:
            of_project = column.class_.project_name == project
            for said in session.scalars(select(column).where(of_project, column.is_not(None)).distinct()).all():
                if (shown := reword(str(said))) == said:
                    continue
                rows = (of_project, column == said)
                if column is SourceListingRow.query:
                    session.execute(delete(SourceListingRow).where(*rows))
                else:
                    session.execute(update(column.class_).where(*rows).values({column.key: shown}))


def reword_what_names(session: Session, name: str, reword: Callable[[str], str]) -> None:
    """Use `reword` to rewrite stored errors and reasons that contain `name`.

    Listings that contain `name` are deleted.
    """
    listed = [column.contains(name, autoescape=True) for column in _OF_LISTINGS]
    session.execute(delete(SourceListingRow).where(or_(*listed)))
    for column in _SAID:
        for text in session.scalars(select(column).where(column.contains(name, autoescape=True))).all():
            session.execute(update(column.class_).where(column == text).values({column.key: reword(str(text))}))
