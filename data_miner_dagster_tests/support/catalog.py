"""Projects and videos as rows of the catalog."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.pending import reindex_videos
from data_miner_dagster.catalog.projects import save_snapshot, update_project
from data_miner_dagster.catalog.schema import ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.work_tables import AttemptRow
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.moved_catalog import MovedCatalog, MoveState, write_moved_catalog

FOUND_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def last_attempt(session: Session, stage: WorkStage, item: str) -> AttemptRow | None:
    """Return the last failure of an item at a stage, or None if it has not failed."""
    of_item = AttemptRow.stage == stage, AttemptRow.item == item
    return session.scalars(select(AttemptRow).where(*of_item).order_by(AttemptRow.id.desc())).first()


def place_catalog(root: Path, url: str) -> None:
    """Make every process use the catalog at `url` for a root; an SQLite catalog stays under the root."""
    if url.startswith("postgresql"):
        root.mkdir(parents=True)
        moved = MovedCatalog("", MoveState.MOVED, url, needs_password=False, is_dagster_beside=False, since="now")
        write_moved_catalog(StorageLayout(root), moved)


def add_project(database: Database, name: str, *, config_hash: str = "hash", is_sourced: bool = True) -> None:
    """Add a project to the catalog."""
    save_snapshot(database, name, {"name": name}, config_hash, None)
    if is_sourced:
        update_project(database, name, sourced_config_hash=config_hash)


def add_video(
    database: Database,
    key: str,
    *projects: str,
    status: VideoStatus = VideoStatus.PENDING,
    member_status: ProjectVideoStatus = ProjectVideoStatus.PENDING,
    reason: str | None = None,
    **columns: object,
) -> None:
    """Add a video with these values, and make it a member of existing projects; rows that exist stay unchanged."""
    with database.transaction() as session:
        if session.get(VideoRow, key) is None:
            session.add(VideoRow(**{"key": key, "url": f"https://example.org/{key}", "status": status, **columns}))
            session.flush()
        members = session.scalars(select(ProjectVideoRow.project_name).where(ProjectVideoRow.video_key == key))
        for project in sorted(set(projects) - set(members)):
            session.add(
                ProjectVideoRow(
                    project_name=project,
                    video_key=key,
                    source="urls",
                    query="q",
                    rank=0,
                    found_at=FOUND_AT,
                    status=member_status,
                    reason=reason,
                )
            )
        reindex_videos(session, [key])
