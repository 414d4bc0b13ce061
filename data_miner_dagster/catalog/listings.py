"""The latest result of each query that lists a project's sources."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import SourceListingRow, utc_now
from data_miner_dagster.catalog.writers import insert_absent


@dataclass(frozen=True, slots=True)
class ListingResult:
    """The result of one query, to be stored."""

    source: str
    query: str
    num_found: int | None  # None if the listing failed completely
    error: str | None  # None if the query was listed without errors
    passed_over: str | None  # a description of the files in a folder or glob that were left out, or None


def record_listings(session: Session, project: str, results: Sequence[ListingResult]) -> None:
    """Store the listing results of a project's queries, replacing earlier results of the same queries."""
    by_query = {(result.source, result.query): result for result in results}
    rows = [
        {"project_name": project, "source": source, "query": query, "listed_at": utc_now()}
        for source, query in sorted(by_query)
    ]
    insert_absent(session, SourceListingRow, rows, returning="id")
    of_project = select(SourceListingRow).where(SourceListingRow.project_name == project).order_by(SourceListingRow.id)
    for row in session.scalars(of_project.with_for_update()).all():
        result = by_query.get((row.source, row.query))
        if result is None:
            continue
        row.listed_at, row.error, row.passed_over = utc_now(), result.error, result.passed_over
        row.num_found = result.num_found


def forget_listings(session: Session, project: str, asked: Collection[tuple[str, str]], *, is_complete: bool) -> None:
    """Delete the results of unused queries, because their errors would otherwise be reported indefinitely.

    Args:
        session: the caller's transaction.
        project: the name of the project.
        asked: the (source, query) pairs that are still in use.
        is_complete: False if a file of queries may not have been read. In that case, only results with errors or with
            files that were left out are deleted.
    """
    of_project = select(SourceListingRow).where(SourceListingRow.project_name == project).order_by(SourceListingRow.id)
    for row in session.scalars(of_project.with_for_update()).all():
        if (row.source, row.query) not in asked and (is_complete or row.error or row.passed_over):
            session.delete(row)


def queries_listed_well(database: Database, project: str) -> set[tuple[str, str]]:
    """Return the (source, query) pairs of a project's listings that had no errors."""
    query = select(SourceListingRow.source, SourceListingRow.query).where(
        SourceListingRow.project_name == project, SourceListingRow.error.is_(None)
    )
    with database.reading() as session:
        return {(source, text) for source, text in session.execute(query)}


def remarkable_listings(database: Database, project: str | None = None) -> Sequence[SourceListingRow]:
    """Return the listings with errors or with files that were left out, sorted by project, source and query.

    Only listings for `project` are included, or those for all projects if it is None.
    """
    query = select(SourceListingRow).where(
        or_(SourceListingRow.error.is_not(None), SourceListingRow.passed_over.is_not(None))
    )
    if project is not None:
        query = query.where(SourceListingRow.project_name == project)
    with database.reading() as session:
        return session.scalars(
            query.order_by(SourceListingRow.project_name, SourceListingRow.source, SourceListingRow.query)
        ).all()
