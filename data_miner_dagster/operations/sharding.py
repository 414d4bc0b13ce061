"""Making the shards of one project: by the run that leads it, and by those that join in.

Every shard is made under its own claim, and what is made is written in parts under that claim's name. The run that
leads goes through the shards itself, and takes over those of workers that have died, so it needs nobody; it goes on
when none is left. Who joins in makes what is free, and nothing else.

Belongs here: which shard comes next, and how each begins and ends. Does not belong here: what making one means
(operations/<stage>/), who is asked to join in (sensors/sharing.py).
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
"""How often the run that leads looks whether the shards of others are made: soon at first, for the last are small."""


class PlanEndedError(ClaimLostError):
    """Raised before something is published for a plan that has ended, or was replaced, since."""


@dataclass(frozen=True, slots=True)
class ShardAtWork:
    """A shard that this worker makes."""

    plan: ShardPlan
    shard: OpenShard
    part_owner: str
    """Distinguishes the parts of this worker from those of another that had the shard before."""


class MakeShard(Protocol):
    """What a stage does with a shard."""

    def __call__(self, work: ShardAtWork) -> None:
        """Work on the items of a shard that nobody has worked on yet, and write what is found in parts."""


def lead(platform: Platform, plan: ShardPlan, make: MakeShard) -> int:
    """Make shards until none is left; return how many others made. Waits for those that live workers make."""
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
    """Make free shards of a plan as long as there are any; return how many.

    Args:
        platform: the platform.
        plan: the plan.
        make: makes one.
        may_go_on: returns, before each, whether this run may take a further one.
    """
    num_made = 0
    with Meter(plan.stage, plan.project, platform.run_id, of_process=True).working(), suppress(PlanEndedError):
        # If the plan has ended, what this run has found since its last part is not wanted any more.
        while may_go_on() and is_in_force(platform.database, plan) and _make_next(platform, plan, make, leads=False):
            num_made += 1
    return num_made


def _make_next(platform: Platform, plan: ShardPlan, make: MakeShard, *, leads: bool) -> bool:
    """Make one shard; return False if none is free."""
    while (shard := next_shard(platform.database, plan, leads=leads)) is not None:
        try:
            with platform.hold_shard(shard.resource) as claim:
                if not begin_shard(platform.database, shard):
                    continue  # made by another since it was looked for
                with _putting_back(platform, shard), _publishing(platform, plan, claim):
                    make(ShardAtWork(plan, shard, claim.token[:8]))
                platform.check_held(claim)
                finish_shard(platform.database, plan, shard, leads=leads)
                return True
        except ClaimHeldError:
            continue  # another was quicker
    return False


@contextmanager
def _putting_back(platform: Platform, shard: OpenShard) -> Iterator[None]:
    """Let others have the shard if the block raises: its worker lives."""
    try:
        yield
    except (ClaimLostError, RunEndedError):  # it is another worker's now
        raise
    except BaseException:
        attempt_extra("shard", shard.resource, partial(put_back_shard, platform.database, shard))
        raise


@contextmanager
def _publishing(platform: Platform, plan: ShardPlan, claim: Claim) -> Iterator[None]:
    def check() -> None:
        platform.check_held(claim)
        if not is_in_force(platform.database, plan):
            raise PlanEndedError(f"{plan.stage.value.lower()} of {plan.project} is shared in another way since")

    with publishing_as(claim.token, check):
        yield
