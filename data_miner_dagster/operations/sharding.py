"""Process the shards of one project, both in the run that leads and in the runs that join it.

Every shard is processed under its own claim, and its results are written in parts that carry the claim's name. The
leading run processes shards itself and takes over the shards of dead workers, so it does not depend on other runs. It
continues with its own work once no shard is left. Joining runs only process free shards.

Belongs here: choosing the next shard, starting it and ending it. Does not belong here: the content of a shard
(operations/<stage>/), and requesting runs that join (sensors/sharing.py).
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
"""The longest pause between checks of whether other runs have finished their shards. Pauses are shorter at first,
because the last shards are small."""


class PlanEndedError(ClaimLostError):
    """Raised when a worker publishes a part for a plan that has ended or was replaced."""


@dataclass(frozen=True, slots=True)
class ShardAtWork:
    """A shard that this worker is processing."""

    plan: ShardPlan
    shard: OpenShard
    part_owner: str
    """Distinguishes this worker's parts from those of an earlier worker on the same shard."""


class MakeShard(Protocol):
    """A stage's function that processes a shard."""

    def __call__(self, work: ShardAtWork) -> None:
        """Process the items of a shard that are not done yet, and write the results in parts."""


def lead(platform: Platform, plan: ShardPlan, make: MakeShard) -> int:
    """Process the shards of a plan until none is open. Return how many of them were processed by other runs.

    The call waits for shards that other living workers are processing.
    """
    num_own, pause = 0, _FIRST_LOOK_SECONDS
    steps = Steps(f"{plan.stage.value.lower()}: {plan.project} has finished", "shards", plan.num_shards, platform)
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
    """Process shards of a plan until none is free, `may_go_on` returns False or the plan ends.

    Return the number of shards that this run processed.

    Args:
        platform: the platform.
        plan: the plan whose shards are processed.
        make: processes one shard.
        may_go_on: returns, before each shard, whether this run may take it.
    """
    num_made = 0
    with Meter(plan.stage, plan.project, platform.run_id, of_process=True).working(), suppress(PlanEndedError):
        # If the plan has ended, results after the last part are no longer needed.
        while may_go_on() and is_in_force(platform.database, plan) and _make_next(platform, plan, make, leads=False):
            num_made += 1
    return num_made


def _make_next(platform: Platform, plan: ShardPlan, make: MakeShard, *, leads: bool) -> bool:
    """Process the next free shard. Return whether there was a free shard."""
    while (shard := next_shard(platform.database, plan, leads=leads)) is not None:
        try:
            with platform.hold_shard(shard.resource) as claim:
                if not begin_shard(platform.database, shard):
                    continue  # another worker processed it in the meantime
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
    """Release the shard if the block raises, so that other workers can take it although this worker is still alive."""
    try:
        yield
    except (ClaimLostError, RunEndedError):  # the shard belongs to another worker now
        raise
    except BaseException:
        attempt_extra("shard", shard.resource, partial(put_back_shard, platform.database, shard))
        raise


@contextmanager
def _publishing(platform: Platform, plan: ShardPlan, claim: Claim) -> Iterator[None]:
    def check() -> None:
        platform.check_held(claim)
        if not is_in_force(platform.database, plan):
            raise PlanEndedError(f"the plan for {plan.stage.value.lower()} of {plan.project} has ended or was replaced")

    with publishing_as(claim.token, check):
        yield
