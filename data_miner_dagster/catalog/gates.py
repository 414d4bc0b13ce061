"""The gates of the stages. A problem that affects every item (a full disk, a missing model) closes a stage's gate.

While a gate is closed, no work of its stage is requested, and an outage is not counted against items. When the closing
time is over, one batch is started as a probe. The gate opens if an item of the probe succeeds, or fails for a reason of
its own. If the probe fails as a whole, the gate closes again for an eighth of the time since it first closed, but for
at least 30 s and at most 6 h.

Belongs here: the rows of gates. Does not belong here: sites that refuse requests (site_events.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import now_of
from data_miner_dagster.catalog.work_tables import StageGateRow, WorkBatchRow
from data_miner_dagster.catalog.writers import insert_absent
from data_miner_dagster.domain.backoff import outage_seconds
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.work import WorkStage


def close_gate(session: Session, stage: WorkStage, kind: str, reason: str, batch_id: int | None = None) -> StageGateRow:
    """Close the gate of a stage after a failure, or close it again after a failed probe. Return the gate.

    The failure counts as a failed probe if `batch_id` is the id of the probe. If `batch_id` is None, the failure also
    counts as one if the closing time is over and no probe is running. A batch that was running when the gate closed may
    fail for the same reason. Such a failure neither extends the closure nor ends another batch's probe. It replaces the
    gate's `kind` and `reason`, unless a probe is running.
    """
    now = now_of(session)
    gate = _locked(session, stage, now)
    is_new = gate.num_trips == 0
    is_probe = gate.probe_batch is not None and gate.probe_batch == batch_id
    may_be_probe = batch_id is None and gate.probe_batch is None and gate.closed_until <= now
    if is_new or is_probe or may_be_probe:
        gate.closed_until = now + timedelta(seconds=outage_seconds((now - gate.closed_at).total_seconds()))
        gate.num_trips += 1
        gate.probe_batch = None
    if is_new or is_probe or may_be_probe or gate.probe_batch is None:
        gate.kind, gate.reason = kind, with_references(reason)
    session.flush()
    return gate


def _locked(session: Session, stage: WorkStage, now: datetime) -> StageGateRow:
    """Return the gate of a stage, locked until this transaction ends. A newly created row has `num_trips` 0."""
    values = {"stage": stage, "closed_at": now, "closed_until": now, "kind": "", "reason": "", "num_trips": 0}
    insert_absent(session, StageGateRow, [values], returning="stage")
    query = select(StageGateRow).where(StageGateRow.stage == stage).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def gate_of(session: Session, stage: WorkStage) -> StageGateRow | None:
    """Return the gate of a stage, or None if it is open. A gate stays closed while a batch probes it."""
    return session.get(StageGateRow, stage, populate_existing=True)


def closed_stages(session: Session) -> Sequence[StageGateRow]:
    """Return the closed gates in stage order."""
    order = list(WorkStage)
    return sorted(session.scalars(select(StageGateRow)), key=lambda gate: order.index(gate.stage))


def may_probe(session: Session, stage: WorkStage, now: datetime) -> bool:
    """Return whether a batch may probe a stage now.

    A probe is allowed if the gate is closed, its closing time is over, and no other probe is running.
    """
    gate = gate_of(session, stage)
    if gate is None or gate.closed_until > now:
        return False
    if gate.probe_batch is None:
        return True
    probe = session.get(WorkBatchRow, gate.probe_batch, populate_existing=True)
    # A probe that was cancelled, for example, has ended without a result.
    return probe is None or probe.ended_at is not None


def begin_probe(session: Session, stage: WorkStage, batch_id: int) -> None:
    """Make a batch the probe of a stage. Nothing is changed if the stage's gate is open."""
    gate = gate_of(session, stage)
    if gate is not None:
        gate.probe_batch = batch_id
        session.flush()


def open_gate(session: Session, stage: WorkStage) -> bool:
    """Open the gate of a stage. Return whether it was closed."""
    was_closed = gate_of(session, stage) is not None
    if was_closed:
        session.execute(delete(StageGateRow).where(StageGateRow.stage == stage))
    return was_closed
