"""The permanent splits and generations of a project's videos. Each choice of shares has its own splits.

Belongs here: storing and finding these records. Does not belong here: drawing splits (stages/splitting/), or reading
splits and generations from releases on disk (operations/split_memory.py).
"""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import VideoGenerationRow, VideoSplitRow
from data_miner_dagster.catalog.writers import insert_absent


def read_splits(database: Database, project: str, shares: str) -> dict[str, str]:
    """Return the splits that were drawn with these shares (`split_memory.shares_text`), by video key, sorted by key.

    For a video that is divided between splits, the value is the text of its cut (domain/splits.py).
    """
    query = (
        select(VideoSplitRow.video_key, VideoSplitRow.split)
        .where(VideoSplitRow.project_name == project, VideoSplitRow.shares == shares)
        .order_by(VideoSplitRow.video_key)
    )
    with database.reading() as session:
        return {row.video_key: row.split for row in session.execute(query)}


def add_splits(session: Session, project: str, shares: str, splits: Mapping[str, str]) -> None:
    """Store splits (or texts of cuts) for videos that have none yet for these shares. Existing splits never change."""
    rows = [
        {"project_name": project, "shares": shares, "video_key": video_key, "split": split}
        for video_key, split in sorted(splits.items())
    ]
    insert_absent(session, VideoSplitRow, rows, returning="id")


def read_generations(database: Database, project: str) -> dict[str, int]:
    """Return the number of the first release that considered each video, by video key, sorted by key."""
    query = (
        select(VideoGenerationRow.video_key, VideoGenerationRow.generation)
        .where(VideoGenerationRow.project_name == project)
        .order_by(VideoGenerationRow.video_key)
    )
    with database.reading() as session:
        return {row.video_key: row.generation for row in session.execute(query)}


def add_generations(session: Session, project: str, generations: Mapping[str, int]) -> None:
    """Store the generations of videos that have none yet. Existing generations never change."""
    rows = [
        {"project_name": project, "video_key": video_key, "generation": generation}
        for video_key, generation in sorted(generations.items())
    ]
    insert_absent(session, VideoGenerationRow, rows, returning="id")


def delete_memory_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Delete the splits and generations of these videos in every project."""
    for some in portions(video_keys):
        for table in (VideoSplitRow, VideoGenerationRow):
            session.execute(delete(table).where(table.video_key.in_(some)))


def delete_memory_of_project(session: Session, project: str) -> None:
    """Delete the splits and generations of one project."""
    for table in (VideoSplitRow, VideoGenerationRow):
        session.execute(delete(table).where(table.project_name == project))
