"""Status changes as conditional UPDATEs, so that only one of two workers can make the same change.

Every function takes a session and never commits. The caller's transaction commits after its files are in place.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar, cast

from sqlalchemy import Table, Update, bindparam, or_, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import Base, ProjectRow, ProjectVideoRow, VideoRow
from data_miner_dagster.domain.secret_values import with_references
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


@lru_cache(maxsize=256)
def _statement(row: type[Base], column: str, keys: tuple[str, ...], sources: tuple[StrEnum, ...]) -> Update:
    """Return the cached statement, since building it takes longer than running it. The parameters set the values."""
    table = cast("Table", row.__table__)
    by_key = [table.c[key] == bindparam(f"of_{key}") for key in keys]
    return update(table).where(*by_key, table.c[column].in_(sources))


def _move(
    session: Session,
    row: type[Base],
    keys: Mapping[str, str],
    sources: Collection[StrEnum],
    column: str,
    values: Mapping[str, Any],
) -> bool:
    # Executed below the ORM: objects already loaded by the session keep their old values.
    session.flush()
    statement = _statement(row, column, tuple(keys), tuple(sources))
    parameters = {**values, **{f"of_{name}": value for name, value in keys.items()}}
    return session.connection().execute(statement, parameters).rowcount == 1


def move_video(
    session: Session,
    video_key: str,
    target: VideoStatus,
    *,
    only_from: Collection[VideoStatus] | None = None,
    **values: Any,
) -> bool:
    """Set a video's status (and other columns) if the transition is allowed from its current status.

    Returns:
        True if this call made the change; False if the transition is not allowed or the video does not exist.
    """
    sources = _allowed_sources(VIDEO_TRANSITIONS, target, only_from)
    return _move(session, VideoRow, {"key": video_key}, sources, "status", {"status": target, **_as_shown(values)})


def _as_shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns as people may see them: in an error, secrets are replaced by their references."""
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
        True if this call made the change; False if the transition is not allowed or there is no such membership.
    """
    sources = _allowed_sources(PROJECT_VIDEO_TRANSITIONS, target, only_from)
    keys = {"project_name": project, "video_key": video_key}
    return _move(session, ProjectVideoRow, keys, sources, "status", {"status": target, **values})


def move_project_videos(
    session: Session,
    project: str,
    target: ProjectVideoStatus,
    values_by_key: Mapping[str, tuple[int | None, str | None]],
) -> None:
    """Set the status and the (num_passed_frames, reason) of many videos in one project with one statement.

    Videos whose current status does not allow the transition are unchanged.
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
    return _move(session, ProjectRow, {"name": project}, sources, "stage", {"stage": target, **_as_shown(values)})
