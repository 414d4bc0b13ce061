"""Holds: work that a person has stopped until it is resumed.

A hold covers the work that it names. A column that is None matches everything: a hold on a project covers each of its
stages and videos, and a hold on a stage covers that stage of every project. Held work stays pending but is not
requested, so a project waits for its held videos. A hold only affects requests. Work that a run has begun continues.

Belongs here: the rows of holds, and the conditions that exclude held work from other modules' queries. Does not belong
here: when failed work may continue (attempts.py, gates.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from data_miner_dagster.catalog.database import Database, portions
from data_miner_dagster.catalog.schema import ProjectVideoRow
from data_miner_dagster.catalog.work_tables import BatchItemRow, HoldRow, PendingWorkRow, WorkBatchRow
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import WorkStage

CANCELLED: Final = "its run was cancelled"
"""The reason given for holds on the work of a cancelled run."""
PAUSED: Final = "paused"
"""The reason given for batches whose runs are cancelled because a person paused some of the work."""
_MOST_LINES: Final = 10
_MOST_KEYS: Final = 5


@dataclass(frozen=True, slots=True)
class WorkScope:
    """A selection of work. A field that is None matches everything. Setting `video_keys` excludes project stages."""

    project: str | None = None
    stage: WorkStage | None = None
    video_keys: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """Return a human-readable description of the work, such as `detection of project pets`."""
        return _words(self.project, self.stage, self.video_keys)

    @property
    def resume_command(self) -> str:
        """The command that resumes this work. For more than five videos, it reads their keys from a file."""
        return _resume_command(self.project, self.stage, self.video_keys)


@dataclass(frozen=True, slots=True)
class WorkWithin:
    """The amount of work in a scope, waiting and in flight."""

    num_waiting: int  # pieces of pending work without a run: a video at a stage counts once
    num_in_flight: int  # pieces of work that are assigned to a run
    batches: Mapping[int, str | None]  # run id by batch id, for the open batches that contain work in flight


def hold_items(
    database: Database,
    *,
    project: str | None = None,
    stage: WorkStage | None = None,
    video_keys: Collection[str] | None = None,
    reason: str,
) -> int:
    """Hold work until `release_holds` is called. Return the number of new holds. Existing holds are not repeated.

    Args:
        database: the catalog.
        project: the project whose work is held, or None for every project.
        stage: the stage that is held, or None for every stage.
        video_keys: the videos that are held, or None for all videos and the project stages.
        reason: the reason, on one human-readable line.
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
    """Hold work like `hold_items`, but in the caller's transaction. Return the number of new holds."""
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
    """Remove the holds in the given scope, and return them, oldest first. An argument that is None matches everything.

    The scope of a project includes holds without a project on videos that the project wants, such as the holds on the
    unfinished videos of a cancelled run. A hold that covers more than the scope is not removed (see `holds_over`).
    """
    with database.transaction() as session:
        released = holds_within(session, project, stage, video_keys)
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
    """Return the holds that `release_holds` would remove, oldest first. Without arguments, return all holds."""
    with database.reading() as session:
        return holds_within(session, project, stage, video_keys)


def holds_over(database: Database, project: str | None = None, stage: WorkStage | None = None) -> list[HoldRow]:
    """Return the holds that cover a stage of a project and name no video, oldest first.

    If `project` is None, only holds on every project count. If `stage` is None, only holds on every stage count.
    """
    query = select(HoldRow).where(
        HoldRow.video_key.is_(None), _covers(HoldRow.project, project), _covers(HoldRow.stage, stage)
    )
    with database.reading() as session:
        return list(session.scalars(query.order_by(HoldRow.id)))


def why_held(database: Database, project: str, stage: WorkStage | None = None) -> str | None:
    """Return why a stage of a project is held and how to resume it, or None if it is not held.

    If `stage` is None, only holds on the whole project count.
    """
    over = holds_over(database, project, stage)
    return _line(over[0].project, over[0].stage, None, over[0].reason, over[0].held_at) if over else None


def is_work_held() -> ColumnElement[bool]:
    """Return the SQL condition that a row of `pending_work` is held, for queries over `PendingWorkRow`.

    A video that several projects want has a row for each of them, and only some of these rows may be held.
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
    """Return the SQL condition that a stage of a project is held as a whole. Holds on single videos do not count."""
    return exists().where(HoldRow.video_key.is_(None), _covers(HoldRow.project, project), _covers(HoldRow.stage, stage))


def delete_holds_of_project(session: Session, project: str) -> None:
    """Delete the holds of a project that is being removed."""
    session.execute(delete(HoldRow).where(HoldRow.project == project))


def delete_holds_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Delete the holds of videos that are being removed."""
    for some in portions(video_keys):
        session.execute(delete(HoldRow).where(HoldRow.video_key.in_(some)))


def work_within(database: Database, scope: WorkScope) -> WorkWithin:
    """Return the amount of work in a scope.

    Work on videos counts whether it is waiting or in flight. Work on projects counts only while it is in flight.
    """
    is_pending = exists().where(
        PendingWorkRow.stage == BatchItemRow.stage,
        PendingWorkRow.video_key == BatchItemRow.item,
        *([PendingWorkRow.project_name == scope.project] if scope.project is not None else []),
    )
    is_free = ~exists().where(BatchItemRow.stage == PendingWorkRow.stage, BatchItemRow.item == PendingWorkRow.video_key)
    waiting = select(PendingWorkRow.stage, PendingWorkRow.video_key).where(is_free).distinct()
    given = select(BatchItemRow.item, BatchItemRow.batch_id, WorkBatchRow.run_id).join(
        WorkBatchRow, WorkBatchRow.id == BatchItemRow.batch_id
    )
    if scope.project is not None:
        waiting = waiting.where(PendingWorkRow.project_name == scope.project)
        given = given.where(or_(is_pending, BatchItemRow.item == scope.project))
    if scope.stage is not None:
        waiting = waiting.where(PendingWorkRow.stage == scope.stage)
        given = given.where(BatchItemRow.stage == scope.stage)
    num_waiting, in_flight = 0, list[tuple[int, str | None]]()
    with database.reading() as session:
        for keys in [None] if scope.video_keys is None else portions(scope.video_keys):
            of_keys = waiting if keys is None else waiting.where(PendingWorkRow.video_key.in_(keys))
            given_keys = given if keys is None else given.where(BatchItemRow.item.in_(keys))
            num_waiting += session.scalar(select(func.count()).select_from(of_keys.subquery())) or 0
            in_flight += [(batch_id, run_id) for _, batch_id, run_id in session.execute(given_keys)]
    return WorkWithin(num_waiting, len(in_flight), dict(in_flight))


def mark_paused(database: Database, batch_ids: Collection[int]) -> None:
    """Mark open batches as paused, because `pause` is cancelling their runs.

    The work of these batches is requested again unless it is held.
    """
    with database.transaction() as session:
        is_open = WorkBatchRow.id.in_(sorted(batch_ids)), WorkBatchRow.ended_at.is_(None)
        session.execute(update(WorkBatchRow).where(*is_open).values(reason=PAUSED))


def lines_of_holds(database: Database, project: str | None = None) -> list[str]:
    """Return one line for each group of similar holds, oldest first, with a command that ends them.

    At most ten groups are listed. If there are more, a last line says so. With `project`, only holds that concern it
    are included.
    """
    groups = select(
        HoldRow.project,
        HoldRow.stage,
        HoldRow.reason,
        HoldRow.video_key.is_(None),
        func.count(),
        func.min(HoldRow.video_key),
        func.min(HoldRow.held_at),
    ).group_by(HoldRow.project, HoldRow.stage, HoldRow.reason, HoldRow.video_key.is_(None))
    if project is not None:
        of_every_video = HoldRow.project.is_(None) & HoldRow.video_key.is_(None)
        groups = groups.where(or_(_is_of_project(project), of_every_video))
    lines = []
    with database.reading() as session:
        rows = session.execute(groups.order_by(func.min(HoldRow.id)).limit(_MOST_LINES + 1)).all()
    for of_project, stage, reason, is_of_all, count, key, held_at in rows:
        keys = None if is_of_all else (str(key),) * count
        lines.append(_line(of_project, stage, keys, reason, held_at))
    return (
        lines
        if len(lines) <= _MOST_LINES
        else [*lines[:_MOST_LINES], "there are more holds; run `data-miner resume --dry-run` to count all of them"]
    )


def _line(
    project: str | None, stage: WorkStage | None, keys: Sequence[str] | None, reason: str, held_at: datetime
) -> str:
    is_group = keys is not None and len(keys) > 1
    verb = "have been" if is_group else "has been"
    why = "the run was cancelled" if reason == CANCELLED else reason
    how = f"`{_resume_command(project, stage, None if is_group else keys)}`"
    if is_group:
        how += f", which ends every hold on {_words(project, stage, None)}"
    return f"{_words(project, stage, keys)} {verb} held since {_when(held_at)} ({why}); to resume, run {how}"


def _words(project: str | None, stage: WorkStage | None, keys: Sequence[str] | None) -> str:
    word = stage.value.lower() if stage is not None else None
    if keys is not None:
        what = f"video {keys[0]}" if len(keys) == 1 else counted(len(keys), "video")
        what += f" at {word}" if word is not None else ""
        return f"{what} of project {project}" if project is not None else what
    if project is not None:
        return f"{word} of project {project}" if word is not None else f"project {project}"
    return f"{word} of every project" if word is not None else "all work"


def _resume_command(project: str | None, stage: WorkStage | None, keys: Sequence[str] | None) -> str:
    named = "" if keys is None else "".join(f" {key}" for key in keys)
    if keys is not None and len(keys) > _MOST_KEYS:
        named = " --keys-file FILE"
    of_project = f" --project {project}" if project is not None else ""
    of_stage = f" --stage {stage.value.lower()}" if stage is not None else ""
    return f"data-miner resume{named}{of_project}{of_stage}"


def _when(date: datetime) -> str:
    return f"{date:%Y-%m-%d %H:%M} UTC"


def holds_within(
    session: Session, project: str | None, stage: WorkStage | None, video_keys: Collection[str] | None
) -> list[HoldRow]:
    """Return the holds in the given scope, oldest first. An argument that is None matches everything."""
    query = select(HoldRow).order_by(HoldRow.id)
    if project is not None:
        query = query.where(_is_of_project(project))
    if stage is not None:
        query = query.where(HoldRow.stage == stage)
    if video_keys is None:
        return list(session.scalars(query))
    found = [row for some in portions(video_keys) for row in session.scalars(query.where(HoldRow.video_key.in_(some)))]
    return sorted(found, key=lambda row: row.id)


def _is_of_project(project: str) -> ColumnElement[bool]:
    """Return the SQL condition that a hold is in the scope of a project.

    Such a hold names the project, or it names no project and holds a video that the project wants.
    """
    members = select(ProjectVideoRow.video_key).where(
        ProjectVideoRow.project_name == project, ProjectVideoRow.status != ProjectVideoStatus.REJECTED
    )
    return or_(HoldRow.project == project, HoldRow.project.is_(None) & HoldRow.video_key.in_(members))


def _is(column: InstrumentedAttribute[Any], value: object) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def _covers(column: InstrumentedAttribute[Any], value: object) -> ColumnElement[bool]:
    """Return the SQL condition that a column of a hold is None or equals `value`."""
    return column.is_(None) if value is None else or_(column.is_(None), column == value)
