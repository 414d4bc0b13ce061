"""Charge a failed run to one item, to the items that it left undone, or to the whole stage.

Belongs here: changing rows. Does not belong here: classifying an exception (operations/run_failures.py).
"""

from collections.abc import Collection

from sqlalchemy.orm import Session

from data_miner_dagster.catalog.attempts import charge_failure
from data_miner_dagster.catalog.deaths import charge_death, note_progress
from data_miner_dagster.catalog.gates import close_gate
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.work_tables import WorkBatchRow
from data_miner_dagster.domain.work import VIDEO_STAGES, Failure, FailureKind, FailureScope, WorkStage


def charge_run(
    session: Session, stage: WorkStage, failure: Failure, undone: Collection[str], batch_id: int | None = None
) -> None:
    """Charge the failure of a run, in the transaction that ends its batch, before the batch's items are freed.

    Nothing is charged if another process has taken over the work. Otherwise, the effect depends on the failure:

    - If it concerns the stage, the stage's gate closes, and the failure counts against no item.
    - If it concerns the batch, and one item may be the cause, the unfinished items are retried in batches of half the
      size, as if the process had died. A run without a batch is not charged.
    - Otherwise, each undone item is charged and retried after a back-off (`charge_failure`). A project with nothing to
      release is not retried automatically.

    If the batch finished some of its items, or the failure concerns a single item, the stage counts as working
    (`note_progress`).

    Args:
        session: the caller's transaction.
        stage: the stage of the run.
        failure: what happened.
        undone: keys of the videos that are not done and have not failed for reasons of their own, or the project's
            name.
        batch_id: the id of the batch, or None if no planner requested the run.
    """
    if failure.kind == FailureKind.TAKEN_OVER:
        return
    has_progress = batch_id is not None and len(undone) < session.get_one(WorkBatchRow, batch_id).size
    if batch_id is not None and (has_progress or failure.scope is FailureScope.ITEM):
        note_progress(session, batch_id)  # an item's own failure shows that the stage works
    if failure.scope is FailureScope.STAGE:
        close_gate(session, stage, failure.kind, failure.message, batch_id)
    elif failure.scope is FailureScope.BATCH and failure.kind not in _OF_EACH:
        if batch_id is not None:
            charge_death(session, batch_id, undone, failure)
    else:
        for item in sorted(set(undone)):
            _charge_item(session, stage, item, failure)


_OF_EACH = frozenset({FailureKind.SYSTEMATIC_FAULT, FailureKind.DAMAGED_FILE})
"""Failures of a batch that cannot be traced to one item by halving the batch."""


def _charge_item(session: Session, stage: WorkStage, item: str, failure: Failure) -> None:
    basis = failure.basis
    if basis is None and stage not in VIDEO_STAGES and (project := session.get(ProjectRow, item)) is not None:
        basis = project.building_basis
    charged = Failure(failure.kind, failure.message, failure.scope, failure.run_id, basis)
    charge_failure(session, stage, item, charged, waits=failure.kind == FailureKind.NOTHING_TO_RELEASE)
