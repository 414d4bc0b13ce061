"""What each source of a project gave when it was last asked."""

from collections.abc import Sequence

from sqlalchemy import or_, select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    SourceListingRow,
)


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
