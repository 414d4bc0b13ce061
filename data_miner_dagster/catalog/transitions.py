"""Status changes as conditional UPDATEs: of two workers that want the same change, one gets it.

Every function takes a session and never commits: the caller's transaction does, after its files are in place.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar, cast

from sqlalchemy import CursorResult, bindparam, or_, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow, VideoRow
from data_miner_dagster.domain.statuses import (
    PROJECT_TRANSITIONS,
    PROJECT_VIDEO_TRANSITIONS,
    VIDEO_TRANSITIONS,
    ProjectStage,
    ProjectVideoStatus,
    VideoStatus,
)

_S = TypeVar("_S", bound=StrEnum)


def _allowed_sources(transitions: Mapping[_S, frozenset[_S]], target: _S, only_from: Collection[_S] | None) -> list[_S]:
    sources = [source for source, targets in transitions.items() if target in targets]
    return sources if only_from is None else [source for source in sources if source in only_from]


def move_video(
    session: Session,
    video_key: str,
    target: VideoStatus,
    *,
    only_from: Collection[VideoStatus] | None = None,
    **values: Any,
) -> bool:
    """Set a video's status (and other columns) if the transition is allowed from where it stands now.

    Returns:
        True if this call made the change; False if the video stands elsewhere or does not exist.
    """
    sources = _allowed_sources(VIDEO_TRANSITIONS, target, only_from)
    statement = update(VideoRow).where(VideoRow.key == video_key, VideoRow.status.in_(sources))
    result = cast("CursorResult[Any]", session.execute(statement.values(status=target, **values)))
    return result.rowcount == 1


def move_project_video(
    session: Session,
    project: str,
    video_key: str,
    target: ProjectVideoStatus,
    *,
    only_from: Collection[ProjectVideoStatus] | None = None,
    **values: Any,
) -> bool:
    """The same for one video in one project."""
    sources = _allowed_sources(PROJECT_VIDEO_TRANSITIONS, target, only_from)
    statement = update(ProjectVideoRow).where(
        ProjectVideoRow.project_name == project,
        ProjectVideoRow.video_key == video_key,
        ProjectVideoRow.status.in_(sources),
    )
    result = cast("CursorResult[Any]", session.execute(statement.values(status=target, **values)))
    return result.rowcount == 1


def move_project_videos(
    session: Session,
    project: str,
    target: ProjectVideoStatus,
    values_by_key: Mapping[str, tuple[int | None, str | None]],
) -> None:
    """The same for many videos in one project, each with its (num_passed_frames, reason), as one statement.

    Those that stand where the transition is not allowed from stay there.
    """
    if not values_by_key:
        return
    table = ProjectVideoRow.__table__
    sources = _allowed_sources(PROJECT_VIDEO_TRANSITIONS, target, None)
    statement = (
        update(ProjectVideoRow)
        .where(
            table.c.project_name == project,
            table.c.video_key == bindparam("key"),
            # not IN: its parameters cannot be expanded in a statement that is executed many times
            or_(*(table.c.status == source for source in sources)),
        )
        .values(status=target, num_passed_frames=bindparam("passed"), reason=bindparam("why"))
    )
    session.connection().execute(
        statement,
        [{"key": key, "passed": passed, "why": reason} for key, (passed, reason) in sorted(values_by_key.items())],
    )


def move_project(
    session: Session,
    project: str,
    target: ProjectStage,
    *,
    only_from: Collection[ProjectStage] | None = None,
    **values: Any,
) -> bool:
    """The same for a project's stage."""
    sources = _allowed_sources(PROJECT_TRANSITIONS, target, only_from)
    statement = update(ProjectRow).where(ProjectRow.name == project, ProjectRow.stage.in_(sources))
    result = cast("CursorResult[Any]", session.execute(statement.values(stage=target, **values)))
    return result.rowcount == 1
