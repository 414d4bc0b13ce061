"""What becomes of videos, projects and claims whose worker is gone or has failed.

Does not belong here: claims that are held (claims.py), what a person asks for (videos.py, projects.py).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select

from data_miner_dagster import __version__
from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.schema import (
    ClaimRow,
    ProjectRow,
    VideoRow,
)
from data_miner_dagster.catalog.transitions import move_project, move_video
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import (
    PROJECT_WAY,
    VideoStatus,
)

_ONE_STEP_BACK: Final = {
    VideoStatus.DOWNLOADING: VideoStatus.PENDING,
    VideoStatus.EXTRACTING: VideoStatus.DOWNLOADED,
}


def reset_orphans(database: Database) -> list[str]:
    """Move videos and projects in a working status that no live worker holds one step back.

    A project waits again for the stage that was cut off.

    Returns:
        The keys and names of those moved: the projects first, each sorted.
    """
    moved = []
    with database.transaction() as session:
        # Statuses first, claims second: a worker claims before it changes a status, so the claim of every working
        # status seen here is seen too.
        videos = session.scalars(
            select(VideoRow).where(VideoRow.status.in_(_ONE_STEP_BACK)).order_by(VideoRow.key)
        ).all()
        projects = session.scalars(
            select(ProjectRow).where(ProjectRow.stage.in_(PROJECT_WAY)).order_by(ProjectRow.name)
        ).all()
        now = database.now(session)
        claimed = {row.resource for row in session.scalars(select(ClaimRow)) if is_claim_live(row, now)}
        for project in projects:
            if f"project/{project.name}" not in claimed and move_project(
                session, project.name, PROJECT_WAY[project.stage].waiting, only_from={project.stage}
            ):
                moved.append(project.name)
        for video in videos:
            if f"video/{video.key}" not in claimed and move_video(
                session, video.key, _ONE_STEP_BACK[video.status], only_from={video.status}
            ):
                moved.append(video.key)
    return moved


def give_up(database: Database, video_keys: Collection[str], reason: str, *, retry_after: datetime) -> list[str]:
    """Set videos to FAILED/CRASHED, unless a live worker holds them; return those set, sorted.

    For videos that no run brings to an end: their projects go on without them, and they are due again at `retry_after`.
    """
    given_up = []
    with database.transaction() as session:
        now = database.now(session)
        claimed = {row.resource for row in session.scalars(select(ClaimRow)) if is_claim_live(row, now)}
        for key in sorted(set(video_keys)):
            if f"video/{key}" in claimed:
                continue
            # What failed before fails again, with another date: by way of PENDING, since no status follows itself.
            move_video(session, key, VideoStatus.PENDING, only_from={VideoStatus.FAILED})
            if move_video(
                session,
                key,
                VideoStatus.FAILED,
                error=reason,
                error_kind=VideoErrorKind.CRASHED,
                retry_after=retry_after,
            ):
                given_up.append(key)
    return given_up


def record_internal_error(database: Database, video_key: str, line: str, *, only_from: Collection[VideoStatus]) -> bool:
    """Set a video to FAILED/INTERNAL_ERROR under this version, unless a live worker holds it; return if it was set.

    Not if it stands elsewhere than `only_from`: another worker has brought it further since. It is due when another
    version is at work, and `retry_videos` gives it another chance.
    """
    values = {
        "error": line,
        "error_kind": VideoErrorKind.INTERNAL_ERROR,
        "retry_after": None,
        "internal_error_version": __version__,
    }
    with database.transaction() as session:
        claim = session.get(ClaimRow, f"video/{video_key}")
        if claim is not None and is_claim_live(claim, database.now(session)):
            return False
        # What failed before fails again, with another reason: by way of PENDING, since no status follows itself.
        has_failed = {VideoStatus.FAILED, VideoStatus.UNAVAILABLE} & set(only_from)
        move_video(session, video_key, VideoStatus.PENDING, only_from=has_failed)
        return move_video(session, video_key, VideoStatus.FAILED, only_from={*only_from, VideoStatus.PENDING}, **values)


def delete_dead_claims(database: Database) -> list[str]:
    """Remove claims whose holder is gone; return their resources. Tidiness only: takers do not mind them."""
    dead = []
    with database.transaction() as session:
        now = database.now(session)
        for row in session.scalars(select(ClaimRow).order_by(ClaimRow.resource)).all():
            if not is_claim_live(row, now):
                session.execute(delete(ClaimRow).where(ClaimRow.resource == row.resource, ClaimRow.token == row.token))
                dead.append(row.resource)
    return dead
