"""Making the shards of one project, by the run that leads and by runs that join in.

Every shard is made under its own claim, and its results are written in parts that carry the claim's name. The leading
run works through the shards itself, and takes over those of dead workers, so it does not depend on others. It goes on
when no shard is left. Runs that join in make free shards, and nothing else.

Belongs here: choosing the next shard, starting and ending it. Does not belong here: the content of a shard
(operations/<stage>/), requesting runs to join in (sensors/sharing.py).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from data_miner_dagster.catalog.claims import Claim
from data_miner_dagster.catalog.shards import (
    OpenShard,
    ShardPlan,
    begin_shard,
    finish_shard,
    is_in_force,
    next_shard,
    num_open_shards,
    put_back_shard,
)
from data_miner_dagster.domain.errors import ClaimHeldError, ClaimLostError, RunEndedError
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.storage.atomic import publishing_as

_FIRST_LOOK_SECONDS: Final = 0.02
_LOOK_SECONDS: Final = 0.25
"""Seconds between checks of the leading run whether others have made their shards: short at first, since the last
shards are small."""


class PlanEndedError(ClaimLostError):
    """Raised before publishing for a plan that has ended or was replaced."""


@dataclass(frozen=True, slots=True)
class ShardAtWork:
    """A shard that this worker makes."""

    plan: ShardPlan
    shard: OpenShard
    part_owner: str
    """Distinguishes the parts of this worker from those of an earlier worker on the same shard."""


class MakeShard(Protocol):
    """What a stage does with a shard."""

    def __call__(self, work: ShardAtWork) -> None:
        """Work on the items of a shard that are not done yet, and write the results in parts."""


def lead(platform: Platform, plan: ShardPlan, make: MakeShard) -> int:
    """Make shards until none is left. Return how many others made. Waits for shards of living workers."""
    num_own, pause = 0, _FIRST_LOOK_SECONDS
    steps = Steps(f"{plan.stage.value.lower()}: {plan.project} has", "shards", plan.num_shards, platform)
    while True:
        has_made = _make_next(platform, plan, make, leads=True)
        num_open = num_open_shards(platform.database, plan)
        steps.reach(plan.num_shards - num_open)
        if has_made:
            num_own, pause = num_own + 1, _FIRST_LOOK_SECONDS
        elif num_open == 0:
            return plan.num_shards - num_own
        else:
            platform.check_run()
            time.sleep(pause)
            pause = min(2 * pause, _LOOK_SECONDS)


def join(platform: Platform, plan: ShardPlan, make: MakeShard, *, may_go_on: Callable[[], bool]) -> int:
    """Make the free shards of a plan. Return how many.

    Args:
        platform: the platform.
        plan: the plan.
        make: makes one shard.
        may_go_on: returns, before each shard, whether this run may take it.
    """
    num_made = 0
    with Meter(plan.stage, plan.project, platform.run_id, of_process=True).working(), suppress(PlanEndedError):
        # If the plan has ended, the results since the last part are no longer needed.
        while may_go_on() and is_in_force(platform.database, plan) and _make_next(platform, plan, make, leads=False):
            num_made += 1
    return num_made


def _make_next(platform: Platform, plan: ShardPlan, make: MakeShard, *, leads: bool) -> bool:
    """Make one shard. Return False if none is free."""
    while (shard := next_shard(platform.database, plan, leads=leads)) is not None:
        try:
            with platform.hold_shard(shard.resource) as claim:
                if not begin_shard(platform.database, shard):
                    continue  # made by another worker meanwhile
                with _putting_back(platform, shard), _publishing(platform, plan, claim):
                    make(ShardAtWork(plan, shard, claim.token[:8]))
                platform.check_held(claim)
                finish_shard(platform.database, plan, shard, leads=leads)
                return True
        except ClaimHeldError:
            continue  # another worker was faster
    return False


@contextmanager
def _putting_back(platform: Platform, shard: OpenShard) -> Iterator[None]:
    """If the block raises, release the shard for others, since this worker is alive."""
    try:
        yield
    except (ClaimLostError, RunEndedError):  # it now belongs to another worker
        raise
    except BaseException:
        attempt_extra("shard", shard.resource, partial(put_back_shard, platform.database, shard))
        raise


@contextmanager
def _publishing(platform: Platform, plan: ShardPlan, claim: Claim) -> Iterator[None]:
    def check() -> None:
        platform.check_held(claim)
        if not is_in_force(platform.database, plan):
            raise PlanEndedError(f"{plan.stage.value.lower()} of {plan.project} has been shared in another way since")

    with publishing_as(claim.token, check):
        yield
