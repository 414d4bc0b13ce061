"""Shards: a project's work at a stage, divided so that several runs can share it.

The run that holds the project's claim leads: it writes the plan and combines the results. Any other run may join in.
Each shard has its own claim (claims.py), so only one of several competing workers gets it, and a dead worker's shard
becomes free. Files show which shards are finished, and rows show only which shards are not finished yet.

Belongs here: the rows. Does not belong here: dividing work (stages/sharding.py), processing a shard (operations/),
requesting more runs (sensors/sharing.py).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy import ColumnElement, Table, and_, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.claims import is_claim_live
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.schema import ClaimRow
from data_miner_dagster.catalog.work_tables import ShardPlanRow, ShardRow
from data_miner_dagster.domain.work import ShardRange, WorkStage

_PLANS: Final = cast("Table", ShardPlanRow.__table__)
_SHARDS: Final = cast("Table", ShardRow.__table__)
_ASK_SECONDS: Final = 60.0
"""The minimum time in seconds between the first request for additional runs and the next one."""
_MOST_ASK_SECONDS: Final = 3600.0
"""The longest wait in seconds between two requests for additional runs."""
_ROWS_A_STATEMENT: Final = 1000


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The division of one project's work at a stage into shards."""

    id: str
    stage: WorkStage
    project: str
    basis: str  # fingerprint of the inputs and settings of the shards
    num_shards: int
    first_part: int  # the number of the first part file of its results, greater than those of all earlier parts
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A shard that is not finished yet."""

    plan_id: str
    number: int  # from 0
    range: ShardRange
    num_taken: int  # workers that began it and did not return it; if they are dead, it may have killed them
    resource: str  # the name of its claim


@dataclass(frozen=True, slots=True)
class Sharing:
    """The progress of a plan, for a process that may request more runs."""

    plan: ShardPlan
    num_open: int
    num_free: int  # shards that no worker has started
    num_asked: int  # runs requested so far
    ask_again_at: datetime  # the earliest time at which more runs may be requested


def begin_sharing(
    database: Database, stage: WorkStage, project: str, basis: str, ranges: Sequence[ShardRange], *, first_part: int
) -> ShardPlan:
    """Store and return the plan for a stage of a project whose claim the caller holds. An earlier plan is replaced."""
    plan_id = uuid.uuid4().hex
    with database.transaction() as session:
        now = database.now(session)
        session.execute(delete(_PLANS).where(_PLANS.c.stage == stage, _PLANS.c.project_name == project))
        plan = ShardPlan(plan_id, stage, project, basis, len(ranges), first_part, now)
        values = {
            "id": plan_id,
            "stage": stage,
            "project_name": project,
            "basis": basis,
            "num_shards": len(ranges),
            "first_part": first_part,
            "created_at": now,
            "ask_again_at": now,
        }
        session.execute(insert(_PLANS).values(values))
        rows = [
            {
                "plan_id": plan_id,
                "number": number,
                "first": each.first,
                "last": each.last,
                "start": each.start,
                "size": each.size,
                "num_taken": 0,
                "resource": f"shard/{stage.value.lower()}/{project}/{plan_id[:8]}/{number}",
            }
            for number, each in enumerate(ranges)
        ]
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            session.execute(insert(_SHARDS), rows[start : start + _ROWS_A_STATEMENT])
    return plan


def find_plan(database: Database, stage: WorkStage, project: str) -> ShardPlan | None:
    """Return the current plan for a project's work at a stage, or None if the work is not shared."""
    with database.reading() as session:
        query = select(ShardPlanRow).where(ShardPlanRow.stage == stage, ShardPlanRow.project_name == project)
        row = session.scalars(query).one_or_none()
        return None if row is None else _plan_of(row)


def is_in_force(database: Database, plan: ShardPlan) -> bool:
    """Return whether a plan is still current: neither ended nor replaced."""
    with database.reading() as session:
        return session.get(ShardPlanRow, plan.id) is not None


def end_sharing(database: Database, stage: WorkStage, project: str) -> None:
    """Delete the plan for a stage of a project whose claim the caller holds.

    Workers then publish no more results for its shards.
    """
    with database.transaction() as session:
        session.execute(delete(_PLANS).where(_PLANS.c.stage == stage, _PLANS.c.project_name == project))


def next_shard(database: Database, plan: ShardPlan, *, leads: bool) -> OpenShard | None:
    """Return the next free shard of a plan, or None if none is free. The caller must take the shard's claim next.

    Only the leading run (`leads`) receives a shard whose worker has died. If the shard kills the leading run's process,
    too, that death counts as a failure of the project.
    """
    of_plan = _SHARDS.c.plan_id == plan.id
    in_order = select(_SHARDS).where(of_plan).order_by(_SHARDS.c.num_taken, _SHARDS.c.number)
    is_claimed = exists().where(ClaimRow.resource == _SHARDS.c.resource)
    with database.reading() as session:
        free = in_order.where(~is_claimed) if leads else in_order.where(~is_claimed, _SHARDS.c.num_taken == 0)
        row = session.execute(free.limit(1)).first()
        if row is None and leads:  # shards of dead workers
            now = database.now(session)
            claims = {claim.resource: claim for claim in session.scalars(select(ClaimRow).where(_is_of(plan)))}
            claimed = session.execute(in_order.where(_SHARDS.c.resource.in_(sorted(claims)))).all()
            row = next((each for each in claimed if not is_claim_live(claims[each.resource], now)), None)
        if row is None:
            return None
        shown = ShardRange(row.first, row.last, row.start, row.size)
        return OpenShard(row.plan_id, row.number, shown, row.num_taken, row.resource)


def begin_shard(database: Database, shard: OpenShard) -> bool:
    """Record that the caller begins a shard whose claim it holds. Return False if the shard or its plan has ended."""
    counted = update(_SHARDS).where(_is(shard)).values(num_taken=_SHARDS.c.num_taken + 1)
    with database.transaction() as session:
        return session.scalar(counted.returning(_SHARDS.c.num_taken)) is not None


def put_back_shard(database: Database, shard: OpenShard) -> None:
    """Record that the caller returns a shard that it began but did not finish."""
    with database.transaction() as session:
        session.execute(update(_SHARDS).where(_is(shard)).values(num_taken=_SHARDS.c.num_taken - 1))


def finish_shard(database: Database, plan: ShardPlan, shard: OpenShard, *, leads: bool) -> None:
    """Record that all results of a shard are in files.

    Unless the caller leads (`leads`), this also stores the cost of the caller's work so far, and resets the wait before
    more runs may be requested.
    """
    with database.transaction() as session:
        session.execute(delete(_SHARDS).where(_is(shard)))
        if not leads:
            session.execute(update(_PLANS).where(_PLANS.c.id == plan.id).values(num_fruitless=0))
            store_spent(session, plan.project, is_over=False)


def num_open_shards(database: Database, plan: ShardPlan) -> int:
    """Return the number of shards of a plan that are not finished yet."""
    with database.reading() as session:
        return session.scalar(select(func.count()).where(_SHARDS.c.plan_id == plan.id)) or 0


def is_any_at_work(database: Database, stage: WorkStage, project: str) -> bool:
    """Return whether a live worker holds a shard of a project's work at a stage, from any plan."""
    with database.reading() as session:
        now = database.now(session)
        query = select(ClaimRow).where(ClaimRow.resource.startswith(_prefix(stage, project), autoescape=True))
        return any(is_claim_live(claim, now) for claim in session.scalars(query))


def sharings(database: Database) -> list[Sharing]:
    """Return the progress of every plan, oldest plan first."""
    with database.reading() as session:
        plans = session.scalars(select(ShardPlanRow).order_by(ShardPlanRow.created_at, ShardPlanRow.id)).all()
        return [_sharing_of(session, row) for row in plans]


def ask_to_join(database: Database, plan: ShardPlan, number: int) -> int | None:
    """Record that `number` more runs are requested, and set the earliest time of the next request.

    The wait is a minute after the first request. It doubles with each further request, up to an hour, and is a minute
    again after one of the requested runs has finished a shard.

    Returns:
        The number of runs that were requested before, or None if the plan has ended.
    """
    with database.transaction() as session:
        row = session.get(ShardPlanRow, plan.id, with_for_update=True)
        if row is None:
            return None
        before = row.num_asked
        wait = min(_ASK_SECONDS * 2**row.num_fruitless, _MOST_ASK_SECONDS)
        row.num_asked += number
        row.num_fruitless += 1
        row.ask_again_at = database.now(session) + timedelta(seconds=wait)
        return before


def _sharing_of(session: Session, row: ShardPlanRow) -> Sharing:
    of_plan = _SHARDS.c.plan_id == row.id
    is_claimed = exists().where(ClaimRow.resource == _SHARDS.c.resource)
    num_open = session.scalar(select(func.count()).where(of_plan)) or 0
    free = select(func.count()).select_from(_SHARDS).where(of_plan, _SHARDS.c.num_taken == 0, ~is_claimed)
    return Sharing(_plan_of(row), num_open, session.scalar(free) or 0, row.num_asked, row.ask_again_at)


def _plan_of(row: ShardPlanRow) -> ShardPlan:
    return ShardPlan(row.id, row.stage, row.project_name, row.basis, row.num_shards, row.first_part, row.created_at)


def _prefix(stage: WorkStage, project: str) -> str:
    return f"shard/{stage.value.lower()}/{project}/"


def _is_of(plan: ShardPlan) -> ColumnElement[bool]:
    return ClaimRow.resource.startswith(f"{_prefix(plan.stage, plan.project)}{plan.id[:8]}/", autoescape=True)


def _is(shard: OpenShard) -> ColumnElement[bool]:
    return and_(_SHARDS.c.plan_id == shard.plan_id, _SHARDS.c.number == shard.number)
