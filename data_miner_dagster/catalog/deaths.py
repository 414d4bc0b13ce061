"""Items whose process died: their batches are halved until the item at fault is alone.

It is unknown which item of a batch killed its process. So each undone item becomes a suspect and is retried in a batch
of half the size, together with suspects from the same death. An item fails (as `crashed`) only if its process dies, or
its run fails as a whole, while it is alone in its batch. It is then retried alone, after a back-off that grows with the
number of deaths in which it was involved. If several distinct items die alone and nothing succeeds in between, the
stage itself is at fault, and its gate closes.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.attempts import record_attempt
from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import now_of
from data_miner_dagster.catalog.gates import close_gate, gate_of, open_gate
from data_miner_dagster.catalog.holds import is_work_held
from data_miner_dagster.catalog.schema import ClaimRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.work_tables import BatchItemRow, PendingWorkRow, SuspectRow, WorkBatchRow
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.domain.backoff import backoff_seconds
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import VIDEO_STAGES, Failure, FailureKind, FailureScope, WorkStage

LONE_DEATHS: Final = 3
"""If the processes of this many distinct items die in a row, each alone in its batch, the stage is at fault."""
_OWN_FAULT: Final = 0
"""The batch id of a suspect whose lone death was followed by a success and so does not count against the stage."""


def charge_death(session: Session, batch_id: int, undone: Collection[str], failure: Failure | None = None) -> None:
    """Charge the death of a batch's process, or a failure of its run, to the undone items before the batch ends.

    If the stage's gate is closed, the outage is blamed, and the death counts against no item. The items of a probe are
    still retried in smaller batches, so an item that kills its process cannot keep the gate closed. The gate closes if
    the batch was a probe, or after `LONE_DEATHS` lone deaths in a row.

    Args:
        session: the caller's transaction.
        batch_id: the id of the batch.
        undone: the items of the batch that are not done and have not failed for reasons of their own.
        failure: why the run failed, or None if its process died for an unknown reason.
    """
    batch = session.get_one(WorkBatchRow, batch_id)
    if batch.stage in VIDEO_STAGES:
        lock_videos(session, undone)  # videos are always locked before the rows that depend on them (writers.py)
    if len(undone) < batch.size:
        note_progress(session, batch_id)
    gate = gate_of(session, batch.stage)
    if gate is not None and gate.probe_batch != batch_id:
        return
    for item in sorted(set(undone)):
        suspect = session.get(SuspectRow, (batch.stage, item))
        if suspect is None:
            suspect = SuspectRow(stage=batch.stage, item=item, num_deaths=0)
            session.add(suspect)
        suspect.batch_id = batch_id
        suspect.size = max(1, len(undone) // 2)
        suspect.num_deaths += gate is None
        session.flush()
        if batch.size == 1 and gate is None:
            _charge_alone(session, batch, suspect, failure)
    if gate is not None:
        close_gate(session, batch.stage, gate.kind, gate.reason, batch_id)
    elif batch.size == 1 and (num_dead := _num_lone_deaths(session, batch.stage)) >= LONE_DEATHS:
        word = batch.stage.value.lower()
        reason = (
            f"the runs of {counted(num_dead, 'item')} died or failed during {word}, each with a single item, and no "
            "item succeeded in between"
        )
        close_gate(session, batch.stage, FailureKind.CRASHED, reason, batch_id)


def _charge_alone(session: Session, batch: WorkBatchRow, suspect: SuspectRow, why: Failure | None) -> None:
    due_at = now_of(session) + timedelta(seconds=backoff_seconds(suspect.num_deaths))
    during = f"during {batch.stage.value.lower()}"
    if suspect.num_deaths > 1:
        during = f"{suspect.num_deaths} times {during}, the last time"
    alone = f"{during} with no other item in the batch"
    message = f"the process died {alone}" if why is None else f"the run failed {alone}: {why.message}"
    failure = Failure(VideoErrorKind.CRASHED, message, FailureScope.BATCH, batch.run_id)
    if batch.stage not in VIDEO_STAGES:
        record_attempt(session, batch.stage, suspect.item, failure, due_at)
        return
    claim = session.get(ClaimRow, f"video/{suspect.item}")
    if claim is not None and is_claim_live(claim, now_of(session)):
        return  # another worker is processing it
    # A failed video passes through PENDING to get a new retry time, since a status cannot follow itself.
    move_video(session, suspect.item, VideoStatus.PENDING, only_from={VideoStatus.FAILED})
    move_video(
        session,
        suspect.item,
        VideoStatus.FAILED,
        error=message,
        failed_at=batch.stage,
        error_kind=VideoErrorKind.CRASHED,
        retry_after=due_at,
    )


def _num_lone_deaths(session: Session, stage: WorkStage) -> int:
    """Return the number of distinct items that died alone since an item last succeeded at the stage."""
    of_lone = (WorkBatchRow.id == SuspectRow.batch_id) & (WorkBatchRow.size == 1)
    return session.scalar(select(func.count()).where(SuspectRow.stage == stage, exists().where(of_lone))) or 0


def note_progress(session: Session, batch_id: int) -> None:
    """Record that a batch has made progress, which shows that its stage works.

    If the batch is a probe, the stage's gate opens. Earlier deaths of items that were alone in their batches no longer
    count against the stage.
    """
    batch = session.get_one(WorkBatchRow, batch_id)
    gate = gate_of(session, batch.stage)
    if gate is not None and gate.probe_batch == batch_id:
        open_gate(session, batch.stage)
    session.execute(
        update(SuspectRow)
        .where(SuspectRow.stage == batch.stage, SuspectRow.size == 1, SuspectRow.batch_id != _OWN_FAULT)
        .where(SuspectRow.batch_id.in_(select(WorkBatchRow.id).where(WorkBatchRow.size == 1)))
        .values(batch_id=_OWN_FAULT)
    )


def is_suspect(stage: ColumnElement[WorkStage], item: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the SQL condition that an item is a suspect at a stage. Suspects share batches only with suspects."""
    return exists().where(SuspectRow.stage == stage, SuspectRow.item == item)


def suspects_to_try(
    session: Session, stage: WorkStage, *, is_probe: bool = False, project: str | None = None
) -> list[str]:
    """Return the keys of the suspects that form the next batch of a video stage, or an empty list if none is due.

    The smallest group comes first, so that the item at fault is isolated before it affects others. A probe gets the
    largest group, because it has to show whether the stage works. With `project`, only the project's videos count.
    """
    is_due = exists().where(
        PendingWorkRow.stage == stage,
        PendingWorkRow.video_key == SuspectRow.item,
        PendingWorkRow.due_at <= now_of(session),
        ~is_work_held(),
        *([] if project is None else [PendingWorkRow.project_name == project]),
    )
    is_free = ~exists().where(BatchItemRow.stage == stage, BatchItemRow.item == SuspectRow.item)
    due = select(SuspectRow).where(SuspectRow.stage == stage, is_due, is_free)
    in_order = (SuspectRow.size.desc() if is_probe else SuspectRow.size, SuspectRow.num_deaths, SuspectRow.batch_id)
    first = session.scalars(due.order_by(*in_order, SuspectRow.item).limit(1)).first()
    if first is None:
        return []
    of_same_death = and_(SuspectRow.batch_id == first.batch_id, SuspectRow.size == first.size)
    together = due.where(or_(SuspectRow.item == first.item, of_same_death)).order_by(SuspectRow.item)
    return [row.item for row in session.scalars(together.limit(first.size))]
