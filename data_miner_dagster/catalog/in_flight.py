"""Query the work in flight in all batches, and the work that may soon follow, for planners and runs.

Does not belong here: choosing and ending batches (batches.py).
"""

from typing import Final, cast

from sqlalchemy import Table, exists, or_, select

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.work_tables import BatchItemRow, PendingWorkRow, WorkBatchRow
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage

_PENDING: Final = cast("Table", PendingWorkRow.__table__)
_BATCHES: Final = cast("Table", WorkBatchRow.__table__)
_ITEMS: Final = cast("Table", BatchItemRow.__table__)


def projects_in_flight(database: Database) -> set[tuple[WorkStage, str]]:
    """Return a (stage, project name) pair for each project that is assigned to a run."""
    query = select(_ITEMS.c.stage, _ITEMS.c.item).where(_ITEMS.c.stage.not_in(VIDEO_STAGES))
    with database.reading() as session:
        return {(stage, item) for stage, item in session.execute(query)}


def is_more_coming(database: Database, stage: WorkStage, project: str | None = None) -> bool:
    """Return whether a stage may soon get a batch: an earlier stage is running or due, or the stage itself is due.

    With `project`, due work counts only if it is for this project, but running batches count for any project.
    """
    earlier = list(WorkStage)[: list(WorkStage).index(stage)]
    at_work = exists().where(_BATCHES.c.ended_at.is_(None), _BATCHES.c.stage.in_(earlier))
    with database.reading() as session:
        is_due = exists().where(_PENDING.c.stage.in_([*earlier, stage]), _PENDING.c.due_at <= database.now(session))
        if project is not None:
            is_due = is_due.where(_PENDING.c.project_name == project)
        return session.scalar(select(or_(at_work, is_due))) is True
