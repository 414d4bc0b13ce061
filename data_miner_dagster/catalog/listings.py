"""What each source of a project gave when it was last asked."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import SourceListingRow, utc_now


@dataclass(frozen=True, slots=True)
class ListingResult:
    """What is kept of one listing."""

    source: str
    query: str
    num_found: int | None  # None if it could not be listed at all
    error: str | None
    passed_over: str | None  # what a folder or glob holds besides, in words


def record_listings(session: Session, project: str, results: Sequence[ListingResult]) -> None:
    """Keep what queries of a project gave, in place of what each gave before."""
    known = {
        (row.source, row.query): row
        for row in session.scalars(select(SourceListingRow).where(SourceListingRow.project_name == project))
    }
    for result in results:
        row = known.get((result.source, result.query))
        if row is None:
            row = SourceListingRow(project_name=project, source=result.source, query=result.query)
            session.add(row)
        row.listed_at, row.error, row.passed_over = utc_now(), result.error, result.passed_over
        row.num_found = result.num_found


def forget_listings(session: Session, project: str, asked: Collection[tuple[str, str]], *, is_complete: bool) -> None:
    """Forget what queries gave that are asked no more: an error of one would be reported for ever.

    Args:
        session: the caller's transaction.
        project: whose listings.
        asked: (source, query) of those that are asked.
        is_complete: False if a file of queries may not have been read. What its queries gave well is kept then.
    """
    for row in session.scalars(select(SourceListingRow).where(SourceListingRow.project_name == project)).all():
        if (row.source, row.query) not in asked and (is_complete or row.error or row.passed_over):
            session.delete(row)


def queries_listed_well(database: Database, project: str) -> set[tuple[str, str]]:
    """Return (source, query) of the listings of a project that met no error."""
    query = select(SourceListingRow.source, SourceListingRow.query).where(
        SourceListingRow.project_name == project, SourceListingRow.error.is_(None)
    )
    with database.reading() as session:
        return {(source, text) for source, text in session.execute(query)}


def remarkable_listings(database: Database, project: str | None = None) -> Sequence[SourceListingRow]:
    """Return the last listings that failed, in part or wholly, or that passed files over, by project and source."""
    query = select(SourceListingRow).where(
        or_(SourceListingRow.error.is_not(None), SourceListingRow.passed_over.is_not(None))
    )
    if project is not None:
        query = query.where(SourceListingRow.project_name == project)
    with database.reading() as session:
        return session.scalars(
            query.order_by(SourceListingRow.project_name, SourceListingRow.source, SourceListingRow.query)
        ).all()
