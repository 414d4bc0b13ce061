"""Clean up videos, projects and claims whose workers have died or failed.

Does not belong here: taking and renewing claims (claims.py), requests by a person (videos.py, projects.py).
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from data_miner_dagster import __version__
from data_miner_dagster.catalog.attempts import num_attempts
from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database, now_of
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.schema import (
    ClaimRow,
    ProjectRow,
    VideoRow,
)
from data_miner_dagster.catalog.transitions import move_project, move_video
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.backoff import backoff_seconds
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import (
    PROJECT_WAY,
    VideoStatus,
)
from data_miner_dagster.domain.work import WorkStage

_ONE_STEP_BACK: Final = {
    VideoStatus.DOWNLOADING: VideoStatus.PENDING,
    VideoStatus.EXTRACTING: VideoStatus.DOWNLOADED,
}


def reset_orphans(database: Database) -> list[str]:
    """Move videos and projects back one step if they are in a working status but no live worker holds their claim.

    An interrupted project waits for the same stage again.

    Returns:
        The names of the moved projects, then the keys of the moved videos, each sorted.
    """
    moved = []
    with database.transaction() as session:
        # Read statuses before claims. A worker takes its claim before it changes a status, so for every working status
        # seen here, its claim is seen, too. Rows are locked so that no status changes in between. Rows that another
        # transaction is changing have a worker and are not read.
        videos = session.scalars(
            select(VideoRow)
            .where(VideoRow.status.in_(_ONE_STEP_BACK))
            .order_by(VideoRow.key)
            .with_for_update(skip_locked=True, key_share=True)
        ).all()
        projects = session.scalars(
            select(ProjectRow)
            .where(ProjectRow.stage.in_(PROJECT_WAY))
            .order_by(ProjectRow.name)
            .with_for_update(skip_locked=True, key_share=True)
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


def record_internal_error(
    database: Database,
    video_key: str,
    line: str,
    *,
    only_from: Collection[VideoStatus],
    stage: WorkStage,
    may_pass: bool = False,
) -> bool:
    """Set a video to FAILED after an unexpected error, and record the cost of the attempt.

    Nothing is changed if a live worker holds the video's claim. A video whose status is neither PENDING nor in
    `only_from` keeps its status, because another worker has since advanced it. With `may_pass` (for an error of the
    system rather than of this program), the failure is transient, and the video is due after a back-off. Without
    `may_pass`, it is an internal error, and the video is due when another version of this package runs, or after
    `retry_videos`.

    Args:
        database: the catalog.
        video_key: the key of the video.
        line: the error, on one line.
        only_from: the statuses, besides PENDING, that the video may currently have.
        stage: the stage that failed.
        may_pass: whether the error may disappear on its own.

    Returns:
        Whether the video was set to FAILED.
    """
    with database.transaction() as session:
        lock_videos(session, [video_key])  # before its claim is read, so that no worker begins in between
        values: dict[str, Any] = {
            "error": line,
            "error_kind": VideoErrorKind.TRANSIENT if may_pass else VideoErrorKind.INTERNAL_ERROR,
            "retry_after": _next_try(session, stage, video_key) if may_pass else None,
            "failed_at": stage,
            **({} if may_pass else {"internal_error_version": __version__}),
        }
        claim = session.get(ClaimRow, f"video/{video_key}")
        if claim is not None and is_claim_live(claim, database.now(session)):
            return False
        # A failed video passes through PENDING to get a new reason, since a status cannot follow itself.
        has_failed = {VideoStatus.FAILED, VideoStatus.UNAVAILABLE} & set(only_from)
        move_video(session, video_key, VideoStatus.PENDING, only_from=has_failed)
        store_spent(session, video_key, is_failed=True)
        return move_video(session, video_key, VideoStatus.FAILED, only_from={*only_from, VideoStatus.PENDING}, **values)


def fail_for_now(database: Database, video_key: str, stage: WorkStage, kind: VideoErrorKind, line: str) -> None:
    """Set a video whose claim the caller holds to FAILED, and record the attempt's cost.

    The video is due again after a back-off.
    """
    with database.transaction() as session:
        due_at = _next_try(session, stage, video_key)
        move_video(
            session,
            video_key,
            VideoStatus.FAILED,
            failed_at=stage,
            error=line,
            error_kind=kind,
            retry_after=due_at,
        )
        store_spent(session, video_key, is_failed=True)


def _next_try(session: Session, stage: WorkStage, video_key: str) -> datetime:
    return now_of(session) + timedelta(seconds=backoff_seconds(num_attempts(session, stage, video_key) + 1))


def delete_dead_claims(database: Database) -> list[str]:
    """Delete the claims that have expired or whose processes have ended. Return their resources, sorted.

    Such claims block no other worker.
    """
    dead = []
    with database.transaction() as session:
        now = database.now(session)
        for row in session.scalars(select(ClaimRow).order_by(ClaimRow.resource)).all():
            if not is_claim_live(row, now):
                is_same = ClaimRow.resource == row.resource, ClaimRow.token == row.token
                # Do not delete a claim that its holder, which was only suspended, has renewed since it was read.
                session.execute(delete(ClaimRow).where(*is_same, ClaimRow.expires_at == row.expires_at))
                dead.append(row.resource)
    return dead
