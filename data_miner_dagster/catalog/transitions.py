"""Status changes as conditional UPDATEs, so only one of two workers can make the same change.

The caller commits the transaction once the files are in place.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Table, bindparam, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from data_miner_dagster.catalog.attempts import clear_attempts, record_attempt
from data_miner_dagster.catalog.pending import (
    end_embedding,
    raise_content_versions,
    reindex_held_video,
    reindex_videos,
)
from data_miner_dagster.catalog.schema import Base, ProjectRow, ProjectVideoRow, VideoRow
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.statuses import (
    PROJECT_TRANSITIONS,
    PROJECT_VIDEO_TRANSITIONS,
    VIDEO_TRANSITIONS,
    ProjectStage,
    ProjectVideoStatus,
    VideoStatus,
)
from data_miner_dagster.domain.work import Failure, WorkStage

_S = TypeVar("_S", bound=StrEnum)

_WISHES: Final = (ProjectVideoStatus.REJECTED, ProjectVideoStatus.PENDING)
"""The statuses of a membership that decide whether its project wants the video."""
_FAILURES: Final = (VideoStatus.FAILED, VideoStatus.UNAVAILABLE)
_STATUS: Final = select(VideoRow.status).where(VideoRow.key == bindparam("key"))
_STAGE_OF: Final[Mapping[VideoStatus | None, WorkStage]] = {
    VideoStatus.DOWNLOADED: WorkStage.EXTRACTION,
    VideoStatus.EXTRACTING: WorkStage.EXTRACTION,
    VideoStatus.EXTRACTED: WorkStage.EMBEDDING,
}
"""The stage that processes videos with each of these statuses. For all other statuses, the stage is downloading."""
_SUCCESS_OF: Final = {VideoStatus.DOWNLOADED: WorkStage.DOWNLOADING, VideoStatus.EXTRACTED: WorkStage.EXTRACTION}
_NOT_CHARGED: Final = frozenset(
    {VideoErrorKind.DISK_FULL, VideoErrorKind.RATE_LIMITED, VideoErrorKind.BOT_CHECK, VideoErrorKind.SITE_REFUSAL}
)
"""Failures that are not the video's own: they would affect every video, or every video from the site."""


def _allowed_sources(transitions: Mapping[_S, frozenset[_S]], target: _S, only_from: Collection[_S] | None) -> list[_S]:
    sources = [source for source, targets in transitions.items() if target in targets]
    return sources if only_from is None else [source for source in sources if source in only_from]


@lru_cache(maxsize=256)
def _statement(
    row: type[Base], column: str, keys: tuple[str, ...], sources: tuple[StrEnum, ...], returned: str
) -> ReturningUpdate[Any]:
    """Return a cached UPDATE statement, since building it takes longer than running it.

    Each execution sets the columns for which it is given parameters.
    """
    table = cast("Table", row.__table__)
    by_key = [table.c[key] == bindparam(f"of_{key}") for key in keys]
    return update(table).where(*by_key, table.c[column].in_(sources)).returning(table.c[returned])


def _move(
    session: Session,
    row: type[Base],
    keys: Mapping[str, str],
    sources: Collection[StrEnum],
    values: Mapping[str, Any],
    returned: str,
) -> tuple[Any] | None:
    """Set columns of one row if its status is one of `sources`.

    Returns:
        A tuple with the row's column `returned`, or None if nothing was set.
    """
    # Executed below the ORM: objects that the session has already loaded keep their old values.
    session.flush()
    column = "stage" if row is ProjectRow else "status"
    statement = _statement(row, column, tuple(keys), tuple(sources), returned)
    parameters = {**values, **{f"of_{name}": value for name, value in keys.items()}}
    moved = session.connection().execute(statement, parameters).first()
    return None if moved is None else (moved[0],)


def move_video(
    session: Session,
    video_key: str,
    target: VideoStatus,
    *,
    only_from: Collection[VideoStatus] | None = None,
    failed_at: WorkStage | None = None,
    **values: Any,
) -> bool:
    """Set a video's status (and other columns) if the transition is allowed from its current status.

    A failure that concerns this video is also recorded as a failed attempt at the stage. A success deletes the video's
    failed attempts at the stage that succeeded.

    Args:
        session: the caller's transaction.
        video_key: the key of the video.
        target: the new status.
        only_from: the statuses that the video may currently have, or None for all that allow the transition.
        failed_at: the stage that failed, or None for the stage that processes videos with the current status.
        values: the values of other columns to set.

    Returns:
        True if this call changed the status. False if the transition is not allowed or the video does not exist.
    """
    sources = _allowed_sources(VIDEO_TRANSITIONS, target, only_from)
    if target in _FAILURES and failed_at is None:
        failed_at = _STAGE_OF.get(session.scalar(_STATUS, {"key": video_key}), WorkStage.DOWNLOADING)
    columns = {"status": target, **_as_shown(values)}
    moved = _move(session, VideoRow, {"key": video_key}, sources, columns, "embedding_basis")
    if moved is None:
        return False
    if target in _SUCCESS_OF:
        clear_attempts(session, _SUCCESS_OF[target], [video_key])
    kind = values.get("error_kind")
    if failed_at is not None and kind is not None and kind not in _NOT_CHARGED:
        failure = Failure(kind, values.get("error") or "")
        record_attempt(session, failed_at, video_key, failure, values.get("retry_after"))
    (embedding_basis,) = moved
    if embedding_basis is not None and target is not VideoStatus.EXTRACTED:
        end_embedding(session, video_key)
    reindex_held_video(session, video_key)
    return True


def _as_shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns, with secrets in an error replaced by references, because people see errors."""
    return {name: with_references(value) if name == "error" and value else value for name, value in values.items()}


def move_project_video(
    session: Session,
    project: str,
    video_key: str,
    target: ProjectVideoStatus,
    *,
    only_from: Collection[ProjectVideoStatus] | None = None,
    **values: Any,
) -> bool:
    """Set the status (and other columns) of one video in one project if the transition is allowed.

    Returns:
        True if this call changed the status. False if the transition is not allowed or the membership does not exist.
    """
    sources = _allowed_sources(PROJECT_VIDEO_TRANSITIONS, target, only_from)
    keys = {"project_name": project, "video_key": video_key}
    _hold_wished(session, [video_key], target)
    if _move(session, ProjectVideoRow, keys, sources, {"status": target, **values}, "video_key") is None:
        return False
    _follow_wishes(session, project, [video_key], target)
    return True


def move_project_videos(
    session: Session,
    project: str,
    target: ProjectVideoStatus,
    values_by_key: Mapping[str, tuple[int | None, str | None]],
) -> None:
    """Set the status and the (num_passed_frames, reason) of many videos in one project with one statement.

    Videos whose current status does not allow the transition do not change.
    """
    if not values_by_key:
        return
    _hold_wished(session, values_by_key, target)
    table = ProjectVideoRow.__table__
    sources = _allowed_sources(PROJECT_VIDEO_TRANSITIONS, target, None)
    statement = (
        update(ProjectVideoRow)
        .where(
            table.c.project_name == project,
            table.c.video_key == bindparam("key"),
            # Not IN: its parameters cannot be expanded in a statement that is executed many times.
            or_(*(table.c.status == source for source in sources)),
        )
        .values(status=target, num_passed_frames=bindparam("passed"), reason=bindparam("why"))
    )
    session.connection().execute(
        statement,
        [
            {"key": key, "passed": passed, "why": reason and with_references(reason)}
            for key, (passed, reason) in sorted(values_by_key.items())
        ],
    )
    _follow_wishes(session, project, values_by_key, target)


def _hold_wished(session: Session, video_keys: Collection[str], target: ProjectVideoStatus) -> None:
    """Lock the videos whose pending work `_follow_wishes` will change, before memberships are locked (writers.py)."""
    if target in _WISHES:
        lock_videos(session, video_keys)


def _follow_wishes(session: Session, project: str, video_keys: Collection[str], target: ProjectVideoStatus) -> None:
    """Update the pending work of videos if `target` may change whether the project wants them.

    A rejection also raises the project's content version.
    """
    if target in _WISHES:
        reindex_videos(session, video_keys)
    if target is ProjectVideoStatus.REJECTED:
        raise_content_versions(session, [project])


def move_project(
    session: Session,
    project: str,
    target: ProjectStage,
    *,
    only_from: Collection[ProjectStage] | None = None,
    **values: Any,
) -> bool:
    """Set a project's stage (and other columns) if the transition is allowed. Return True if this call changed it."""
    sources = _allowed_sources(PROJECT_TRANSITIONS, target, only_from)
    values = {"stage": target, **_as_shown(values)}
    return _move(session, ProjectRow, {"name": project}, sources, values, "name") is not None
