"""The split of every video that a project has ever released, under the shares it was drawn with.

Belongs here: keeping and finding them. Does not belong here: drawing them (stages/releasing.py), or what releases on
disk say (operations/split_memory.py).
"""

from collections.abc import Collection, Mapping

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.queries import KEYS_A_STATEMENT
from data_miner_dagster.catalog.schema import VideoSplitRow


def read_splits(database: Database, project: str, shares: str) -> dict[str, str]:
    """Return video key to split, by key, as decided under these shares (`split_memory.shares_text`)."""
    query = (
        select(VideoSplitRow.video_key, VideoSplitRow.split)
        .where(VideoSplitRow.project_name == project, VideoSplitRow.shares == shares)
        .order_by(VideoSplitRow.video_key)
    )
    with database.reading() as session:
        return {row.video_key: row.split for row in session.execute(query)}


def add_splits(session: Session, project: str, shares: str, splits: Mapping[str, str]) -> None:
    """Keep the splits of videos that have none under these shares yet; one that is known never changes."""
    query = select(VideoSplitRow.video_key).where(VideoSplitRow.project_name == project, VideoSplitRow.shares == shares)
    known = set(session.scalars(query))
    rows = [
        {"project_name": project, "shares": shares, "video_key": video_key, "split": split}
        for video_key, split in sorted(splits.items())
        if video_key not in known
    ]
    if rows:
        session.execute(insert(VideoSplitRow), rows)


def delete_splits_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Remove what every project remembers of these videos."""
    keys = sorted(set(video_keys))
    for start in range(0, len(keys), KEYS_A_STATEMENT):
        some = keys[start : start + KEYS_A_STATEMENT]
        session.execute(delete(VideoSplitRow).where(VideoSplitRow.video_key.in_(some)))


def delete_splits_of_project(session: Session, project: str) -> None:
    """Remove what one project remembers."""
    session.execute(delete(VideoSplitRow).where(VideoSplitRow.project_name == project))
