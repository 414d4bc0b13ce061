"""Work that a person stopped: which work it is, until it may go on.

A hold covers the work that it names. A column that is None stands for all: a hold of a project covers each of its
stages and videos, a hold of a stage covers that stage of every project. Work under a hold stays pending but is not
requested, so a project waits for its held videos. A hold is about requesting: a run that is at work already goes on.

Belongs here: the rows of holds, and the conditions by which queries of other modules leave out held work. Does not
belong here: what may go on after a failure (attempts.py, gates.py).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import ProjectVideoRow
from data_miner_dagster.catalog.work_tables import HoldRow, PendingWorkRow
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import WorkStage

_MOST_LINES: Final = 10


def hold_items(
    database: Database,
    *,
    project: str | None = None,
    stage: WorkStage | None = None,
    video_keys: Collection[str] | None = None,
    reason: str,
) -> int:
    """Hold work until `release_holds`, and return how many holds are new. None stands for all; idempotent.

    Args:
        database: the catalog.
        project: the project whose work is held.
        stage: the stage that is held.
        video_keys: the videos that are held. None holds the stages of projects as well.
        reason: one line for people.
    """
    with database.transaction() as session:
        return hold_in(session, database.now(session), project, stage, video_keys, reason)


def hold_in(
    session: Session,
    now: datetime,
    project: str | None,
    stage: WorkStage | None,
    video_keys: Collection[str] | None,
    reason: str,
) -> int:
    """Do what `hold_items` does, in the caller's transaction."""
    same = (_is(HoldRow.project, project), _is(HoldRow.stage, stage))
    known = set(session.scalars(select(HoldRow.video_key).where(*same)))
    wanted: Sequence[str | None] = [None] if video_keys is None else sorted(set(video_keys))
    new = [key for key in wanted if key not in known]
    session.add_all(HoldRow(project=project, stage=stage, video_key=key, reason=reason, held_at=now) for key in new)
    session.flush()
    return len(new)


def release_holds(
    database: Database,
    *,
    project: str | None = None,
    stage: WorkStage | None = None,
    video_keys: Collection[str] | None = None,
) -> list[HoldRow]:
    """Remove the holds that lie within what is named, and return them. None stands for all.

    A project includes the videos that it wants, also where they are held for every project: that is how the undone
    videos of a cancelled run are held. A hold that covers more than what is named stays (`holds_over`).
    """
    with database.transaction() as session:
        released = _within(session, project, stage, video_keys)
        for row in released:
            session.execute(delete(HoldRow).where(HoldRow.id == row.id))
    return released


def find_holds(
    database: Database,
    *,
    project: str | None = None,
    stage: WorkStage | None = None,
    video_keys: Collection[str] | None = None,
) -> list[HoldRow]:
    """Return the holds that `release_holds` would remove, oldest first. Without arguments: all of them."""
    with database.reading() as session:
        return _within(session, project, stage, video_keys)


def holds_over(database: Database, project: str | None = None, stage: WorkStage | None = None) -> list[HoldRow]:
    """Return the holds without a video that cover a stage of a project, oldest first.

    With None for either, only holds of every project or of every stage count.
    """
    query = select(HoldRow).where(
        HoldRow.video_key.is_(None), _covers(HoldRow.project, project), _covers(HoldRow.stage, stage)
    )
    with database.reading() as session:
        return list(session.scalars(query.order_by(HoldRow.id)))


def why_held(database: Database, project: str, stage: WorkStage | None = None) -> str | None:
    """Return one line saying why a stage of a project, or with None the whole project, is not requested, or None."""
    over = holds_over(database, project, stage)
    return None if not over else f"{_named(over[0])} is held since {_when(over[0].held_at)}: {over[0].reason}"


def is_work_held() -> ColumnElement[bool]:
    """Return the condition that a row of `pending_work` is held, for queries over `PendingWorkRow`.

    The same video may be pending for a project that is held and for one that is not: each has its row.
    """
    of_row = _covers(HoldRow.project, PendingWorkRow.project_name), _covers(HoldRow.stage, PendingWorkRow.stage)
    # Two conditions instead of one with OR, so that both use the index on `video_key`.
    return or_(
        exists().where(HoldRow.video_key.is_(None), *of_row).correlate(PendingWorkRow),
        exists().where(HoldRow.video_key == PendingWorkRow.video_key, *of_row).correlate(PendingWorkRow),
    )


def is_stage_held(
    project: InstrumentedAttribute[str] | str, stage: InstrumentedAttribute[WorkStage] | WorkStage
) -> ColumnElement[bool]:
    """Return the condition that a stage of a project is held, for queries over projects."""
    return exists().where(HoldRow.video_key.is_(None), _covers(HoldRow.project, project), _covers(HoldRow.stage, stage))


def delete_holds_of_project(session: Session, project: str) -> None:
    """Remove the holds of a project that is removed."""
    session.execute(delete(HoldRow).where(HoldRow.project == project))


def delete_holds_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Remove the holds of videos that are removed."""
    for some in portions(video_keys):
        session.execute(delete(HoldRow).where(HoldRow.video_key.in_(some)))


def lines_of_holds(database: Database, project: str | None = None) -> list[str]:
    """Return one line for each group of holds, with the command that ends it, oldest first.

    With `project`, only the holds that concern this project.
    """
    rows = find_holds(database)
    if project is not None:
        of_project = {row.id for row in find_holds(database, project=project)}
        rows = [row for row in rows if row.id in of_project or (row.project is None and row.video_key is None)]
    groups = Counter((row.project, row.stage, row.video_key is None, row.reason) for row in rows)
    first = {(row.project, row.stage, row.video_key is None, row.reason): row for row in reversed(rows)}
    lines = [
        (
            f"{_named(first[group], count)} {'are' if count > 1 else 'is'} held since "
            f"{_when(first[group].held_at)} ({first[group].reason}); to go on: {command_to_resume(first[group], count)}"
        )
        for group, count in groups.items()
    ]
    more = [f"and {len(lines) - _MOST_LINES} more holds: data-miner status"] if len(lines) > _MOST_LINES else []
    return [*lines[:_MOST_LINES], *more]


def command_to_resume(row: HoldRow, num_videos: int = 1) -> str:
    """Return the command that ends a hold, or a group of holds of videos."""
    project = f" --project {row.project}" if row.project is not None else ""
    stage = f" --stage {row.stage.value.lower()}" if row.stage is not None else ""
    key = f" {row.video_key}" if row.video_key is not None and num_videos == 1 else ""
    return f"data-miner resume{key}{project}{stage}"


def _named(row: HoldRow, num_videos: int = 1) -> str:
    """Return what a hold covers, in words."""
    stage = row.stage.value.lower() if row.stage is not None else None
    if row.video_key is not None:
        what = f"{num_videos} videos" if num_videos > 1 else f"video {row.video_key}"
        what += f" at {stage}" if stage is not None else ""
        return f"{what} of project {row.project}" if row.project is not None else what
    if row.project is not None:
        return f"{stage} of project {row.project}" if stage is not None else f"project {row.project}"
    return f"{stage} of every project" if stage is not None else "all work"


def _when(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"


def _within(
    session: Session, project: str | None, stage: WorkStage | None, video_keys: Collection[str] | None
) -> list[HoldRow]:
    query = select(HoldRow).order_by(HoldRow.id)
    if project is not None:
        members = select(ProjectVideoRow.video_key).where(
            ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED
        )
        of_its_videos = HoldRow.project.is_(None) & HoldRow.video_key.in_(members)
        query = query.where(or_(HoldRow.project == project, of_its_videos))
    if stage is not None:
        query = query.where(HoldRow.stage == stage)
    if video_keys is None:
        return list(session.scalars(query))
    found = [row for some in portions(video_keys) for row in session.scalars(query.where(HoldRow.video_key.in_(some)))]
    return sorted(found, key=lambda row: row.id)


def _is(column: InstrumentedAttribute[Any], value: object) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _covers(column: InstrumentedAttribute[Any], value: object) -> ColumnElement[bool]:
    """Return the condition that a hold's column stands for all or has this value."""
    return column.is_(None) if value is None else or_(column.is_(None), column == value)
