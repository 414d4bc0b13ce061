"""Records of the copies outside the root (backups and published releases), where removals must be repeated."""

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import OutsideCopyRow, utc_now
from data_miner_dagster.domain.copies import CopyKind


def record_backup(database: Database, url: str, snapshot: str) -> None:
    """Record a complete backup, replacing any earlier record of the same snapshot at this URL."""
    with database.transaction() as session:
        _replace(session, OutsideCopyRow(kind=CopyKind.BACKUP, url=url, snapshot=snapshot))


def record_publication(database: Database, url: str, project: str, version: str) -> None:
    """Record a published release, replacing any earlier record of the same release at this URL.

    A dataset on the hub keeps its earlier commits, so it may contain several releases.

    Call this before the first file is published, so that an interrupted publication is recorded, too.
    """
    with database.transaction() as session:
        _replace(session, OutsideCopyRow(kind=CopyKind.PUBLICATION, url=url, project_name=project, version=version))


def _replace(session: Session, row: OutsideCopyRow) -> None:
    row.made_at = utc_now()
    session.execute(
        delete(OutsideCopyRow).where(
            OutsideCopyRow.kind == row.kind,
            OutsideCopyRow.url == row.url,
            OutsideCopyRow.project_name.is_not_distinct_from(row.project_name),
            OutsideCopyRow.version.is_not_distinct_from(row.version),
            OutsideCopyRow.snapshot.is_not_distinct_from(row.snapshot),
        )
    )
    session.add(row)


def remove_backups(database: Database, url: str, snapshots: Collection[str]) -> None:
    """Delete the records of backups whose snapshots no longer exist at `url`."""
    with database.transaction() as session:
        session.execute(
            delete(OutsideCopyRow).where(
                OutsideCopyRow.kind == CopyKind.BACKUP,
                OutsideCopyRow.url == url,
                OutsideCopyRow.snapshot.in_(list(snapshots)),
            )
        )


def remove_publication(database: Database, url: str) -> None:
    """Delete the record of a published release that no longer exists at `url`."""
    with database.transaction() as session:
        session.execute(
            delete(OutsideCopyRow).where(OutsideCopyRow.kind == CopyKind.PUBLICATION, OutsideCopyRow.url == url)
        )


def find_outside_copies(database: Database) -> list[OutsideCopyRow]:
    """Return the records of all copies outside the root, oldest first."""
    with database.reading() as session:
        return list(session.scalars(select(OutsideCopyRow).order_by(OutsideCopyRow.made_at, OutsideCopyRow.id)))
