"""Changes that a person asks for: retry, delete, reset. Rows only.

Does not belong here: removing files (operations/upkeep/removal.py).
"""

from collections.abc import Collection
from typing import Any, Final, cast

from sqlalchemy import CursorResult, delete, select, update

from data_miner_dagster import __version__
from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.queries import KEYS_A_STATEMENT, is_wanted
from data_miner_dagster.catalog.schema import (
    ClaimRow,
    ForgottenRow,
    PrescreeningRow,
    ProjectRow,
    ReleaseRow,
    SiteGateRow,
    SiteRefusalRow,
    VideoRow,
)
from data_miner_dagster.catalog.transitions import move_project, move_video
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import PROJECT_WAY, VideoStatus

_ONE_STEP_BACK: Final = {
    VideoStatus.DOWNLOADING: VideoStatus.PENDING,
    VideoStatus.EXTRACTING: VideoStatus.DOWNLOADED,
}


def retry_videos(
    database: Database,
    *,
    project: str | None = None,
    kinds: Collection[VideoErrorKind] | None = None,
    video_keys: Collection[str] | None = None,
) -> list[str]:
    """Set failed and withheld videos back to where they may be tried again; return their keys, sorted.

    A video whose file is there (it failed at extraction) goes back to DOWNLOADED, any other to PENDING.
    """
    query = (
        select(VideoRow)
        .where(VideoRow.status.in_({VideoStatus.FAILED, VideoStatus.UNAVAILABLE}))
        .order_by(VideoRow.key)
    )
    if project is not None:
        query = query.where(is_wanted(project))
    if kinds is not None:
        query = query.where(VideoRow.error_kind.in_(kinds))
    if video_keys is not None:
        query = query.where(VideoRow.key.in_(video_keys))
    fresh = {"attempts": 0, "retry_after": None, "error": None, "error_kind": None}
    with database.transaction() as session:
        retried = []
        for video in session.scalars(query):
            has_file = video.status is VideoStatus.FAILED and video.sha256 is not None
            target = VideoStatus.DOWNLOADED if has_file else VideoStatus.PENDING
            if move_video(session, video.key, target, only_from={video.status}, **fresh):
                retried.append(video.key)
    return retried


def delete_project(database: Database, name: str) -> bool:
    """Remove a project and its memberships; its videos and releases stay. Return False if there is none."""
    with database.transaction() as session:
        row = session.get(ProjectRow, name)
        if row is None:
            return False
        session.execute(delete(ProjectRow).where(ProjectRow.name == name))  # memberships go by ON DELETE CASCADE
        return True


def delete_videos(database: Database, video_keys: Collection[str], *, only_unwanted: bool = True) -> list[str]:
    """Remove videos, their memberships and what was noted of them; return the keys removed, sorted.

    With `only_unwanted`, a video that a project wants at the moment of the deletion stays.
    """
    keys = sorted(set(video_keys))
    removed: list[str] = []
    with database.transaction() as session:
        for start in range(0, len(keys), KEYS_A_STATEMENT):
            query = select(VideoRow.key).where(VideoRow.key.in_(keys[start : start + KEYS_A_STATEMENT]))
            if only_unwanted:
                query = query.where(~is_wanted())
            some = sorted(session.scalars(query))
            session.execute(delete(PrescreeningRow).where(PrescreeningRow.video_key.in_(some)))
            session.execute(delete(SiteRefusalRow).where(SiteRefusalRow.video_key.in_(some)))
            session.execute(update(SiteGateRow).where(SiteGateRow.probe_key.in_(some)).values(probe_key=None))
            session.execute(update(VideoRow).where(VideoRow.duplicate_of.in_(some)).values(duplicate_of=None))
            session.execute(delete(VideoRow).where(VideoRow.key.in_(some)))
            removed += some
    return removed


def remember_forgotten(database: Database, subjects: Collection[str], reason: str) -> None:
    """Note that these (of `forgotten_subject`) were removed on request. Idempotent."""
    with database.transaction() as session:
        for subject in sorted(set(subjects)):
            if session.get(ForgottenRow, subject) is None:
                session.add(ForgottenRow(subject=subject, reason=reason))


def withdraw_release(database: Database, project: str, version: str, reason: str) -> bool:
    """Mark a release as withdrawn, with the first reason given; return False if it was, or is unknown."""
    statement = update(ReleaseRow).where(
        ReleaseRow.project_name == project, ReleaseRow.version == version, ReleaseRow.withdrawn_reason.is_(None)
    )
    with database.transaction() as session:
        result = cast("CursorResult[Any]", session.execute(statement.values(withdrawn_reason=reason)))
        return result.rowcount == 1


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


def give_up(database: Database, video_keys: Collection[str], reason: str) -> list[str]:
    """Set videos to FAILED/CRASHED without a retry date, unless a live worker holds them; return those set, sorted.

    For videos that no run brings to an end: `retry_videos` gives them another chance.
    """
    given_up = []
    with database.transaction() as session:
        now = database.now(session)
        claimed = {row.resource for row in session.scalars(select(ClaimRow)) if is_claim_live(row, now)}
        for key in sorted(set(video_keys)):
            if f"video/{key}" not in claimed and move_video(
                session,
                key,
                VideoStatus.FAILED,
                error=reason,
                error_kind=VideoErrorKind.CRASHED,
                retry_after=None,
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
