"""The resources that stages have used, with one row per subject, stage and run (domain/measurements.py).

Amounts are added in the transaction that stores the outcome of an item or a shard. When a process is killed, the
amounts spent on its current work are lost with the outcome, and nothing is counted twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, cast

from sqlalchemy import Row, Select, Table, delete, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from data_miner_dagster.catalog.database import Database, now_of, portions
from data_miner_dagster.catalog.schema import ProjectVideoRow
from data_miner_dagster.catalog.work_tables import MeasurementRow
from data_miner_dagster.catalog.writers import insert_into
from data_miner_dagster.domain.measurements import AMOUNTS, Measured, measured_from_told
from data_miner_dagster.domain.meters import current_meter
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage

_ROWS: Final = cast("Table", MeasurementRow.__table__)
_KEY: Final = (_ROWS.c.subject, _ROWS.c.stage, _ROWS.c.run_id)


@lru_cache
def _adding(dialect: str) -> Any:
    """Return the statement that adds amounts to a row, creating the row if necessary."""
    insert = insert_into(_ROWS, dialect)
    sums = {name: _ROWS.c[name] + insert.excluded[name] for name in AMOUNTS}
    return insert.on_conflict_do_update(index_elements=_KEY, set_={**sums, "measured_at": insert.excluded.measured_at})


def store_spent(
    session: Session, subject: str, *, is_failed: bool = False, is_over: bool = True, **results: int
) -> None:
    """Record the amounts that the current work has used since the last call, in the row for its subject, stage and run.

    Nothing is stored if no work is being measured, or if the current work is on another subject.

    Args:
        session: the transaction that stores the outcome of an attempt.
        subject: the video's key or the project's name.
        is_failed: whether the attempt failed.
        is_over: whether the attempt has ended. If not, further amounts are stored later.
        results: further amounts of `Measured`, such as `num_frames`.
    """
    meter = current_meter()
    if meter is None or meter.stage is None or meter.subject not in (None, subject):
        return
    spent = meter.take() + Measured(num_items=int(is_over), num_failed=int(is_failed), **results)
    values = {
        "subject": subject,
        "stage": meter.stage,
        "run_id": meter.run_id or "",
        **{name: getattr(spent, name) for name in AMOUNTS},
        "measured_at": now_of(session),
    }
    session.flush()
    session.connection().execute(_adding(session.get_bind().dialect.name), values)


def forget_spent(session: Session, subjects: Collection[str], stages: Collection[WorkStage]) -> None:
    """Delete the measurements of videos or projects that are being removed, at the given stages."""
    for some in portions(subjects):
        session.execute(delete(_ROWS).where(_ROWS.c.subject.in_(some), _ROWS.c.stage.in_(stages)))


PROJECT_STAGES: Final = tuple(stage for stage in WorkStage if stage not in VIDEO_STAGES)


@dataclass(frozen=True, slots=True)
class RunOfItem:
    """A run that processed a video or project at one stage."""

    stage: WorkStage
    run_id: str
    """The id of the Dagster run, or "" if the work was not part of a run."""
    measured_at: datetime
    """When the run last recorded its use of resources."""
    wall_seconds: float
    is_failed: bool
    """Whether no attempt of the run succeeded."""


def runs_of_item(database: Database, subject: str, stages: Collection[WorkStage]) -> list[RunOfItem]:
    """Return the runs that processed a video or project at these stages, in stage order.

    The runs at each stage are sorted from the most recent to the oldest.
    """
    columns = (_ROWS.c.stage, _ROWS.c.run_id, _ROWS.c.measured_at, _ROWS.c.wall_seconds)
    query = select(*columns, _ROWS.c.num_failed >= _ROWS.c.num_items)
    query = query.where(_ROWS.c.subject == subject, _ROWS.c.stage.in_(stages))
    with database.reading() as session:
        found = [RunOfItem(*row) for row in session.execute(query.order_by(_ROWS.c.measured_at.desc()))]
    order = list(WorkStage)
    return sorted(found, key=lambda run: order.index(run.stage))


def spent_by_stage(database: Database, project: str | None = None) -> dict[WorkStage, Measured]:
    """Return the resources used at each stage, in stage order: in total, or for `project` and its videos.

    Stages without measurements are omitted.
    """
    with database.reading() as session:
        return spent_by_stage_in(session, project)


def spent_by_stage_in(session: Session, project: str | None = None) -> dict[WorkStage, Measured]:
    """Return the resources used at each stage like `spent_by_stage`, but in the caller's transaction."""
    sums = [func.sum(_ROWS.c[name]) for name in AMOUNTS]
    query = select(_ROWS.c.stage, *sums).group_by(_ROWS.c.stage)
    if project is not None:
        of_videos = _ROWS.c.stage.in_(VIDEO_STAGES) & _ROWS.c.subject.in_(_videos_of(project))
        of_project = _ROWS.c.stage.in_(PROJECT_STAGES) & (_ROWS.c.subject == project)
        query = query.where(or_(of_videos, of_project))
    return _in_order(session.execute(query).all())


def _videos_of(project: str) -> Select[str]:
    """Return the query for the keys of the videos whose cost counts for a project.

    These are the videos that the project wants, and its rejected videos that no other project wants.
    """
    other = aliased(ProjectVideoRow)
    is_wanted_elsewhere = exists().where(
        other.video_key == ProjectVideoRow.video_key,
        other.project_name != project,
        other.status != ProjectVideoStatus.REJECTED,
    )
    is_its = or_(ProjectVideoRow.status != ProjectVideoStatus.REJECTED, ~is_wanted_elsewhere)
    return select(ProjectVideoRow.video_key).where(ProjectVideoRow.project_name == project, is_its)


def count_sharing(session: Session, project: str) -> tuple[int, int]:
    """Return the number of a project's videos that other projects also want, and the number of those projects.

    Rejected videos do not count.
    """
    other = aliased(ProjectVideoRow)
    query = (
        select(func.count(ProjectVideoRow.video_key.distinct()), func.count(other.project_name.distinct()))
        .join(other, other.video_key == ProjectVideoRow.video_key)
        .where(
            ProjectVideoRow.project_name == project,
            ProjectVideoRow.status != ProjectVideoStatus.REJECTED,
            other.project_name != project,
            other.status != ProjectVideoStatus.REJECTED,
        )
    )
    num_videos, num_projects = session.execute(query).one()
    return num_videos, num_projects


def _in_order(rows: Collection[Row[Any]]) -> dict[WorkStage, Measured]:
    by_stage: Mapping[WorkStage, Measured] = {row[0]: _measured(row[1:]) for row in rows}
    return {stage: by_stage[stage] for stage in WorkStage if stage in by_stage}


def _measured(sums: Sequence[Any]) -> Measured:
    """Convert sums in the order of `AMOUNTS` to a record of floats, since PostgreSQL sums integers as decimals."""
    return measured_from_told({name: float(value) for name, value in zip(AMOUNTS, sums, strict=True)})
