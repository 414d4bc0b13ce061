import os
from datetime import timedelta

import pytest
from sqlalchemy import update

from data_miner_dagster.catalog.claims import hold_claim, live_claims, try_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.projects import delete_project
from data_miner_dagster.catalog.schema import ClaimRow
from data_miner_dagster.catalog.shards import (
    ShardPlan,
    ask_to_join,
    begin_shard,
    begin_sharing,
    end_sharing,
    find_plan,
    finish_shard,
    is_any_at_work,
    is_in_force,
    next_shard,
    num_open_shards,
    put_back_shard,
    sharings,
)
from data_miner_dagster.domain.work import ShardRange, WorkStage
from data_miner_dagster_tests.support.catalog import add_project

STAGE = WorkStage.DETECTION


@pytest.fixture
def plan(database: Database) -> ShardPlan:
    add_project(database, "pets")
    ranges = [ShardRange(f"files-a/{at:06d}", f"files-a/{at + 1:06d}", at, 2) for at in (0, 2, 4)]
    return begin_sharing(database, STAGE, "pets", "basis", ranges, first_part=7)


def kill_holder(database: Database, resource: str) -> None:
    with database.transaction() as session:
        session.execute(update(ClaimRow).where(ClaimRow.resource == resource).values(process_started="earlier"))


def test_begin_sharing__replaces_the_plan_of_the_same_project_and_stage(database: Database, plan: ShardPlan) -> None:
    assert find_plan(database, STAGE, "pets") == plan
    assert (plan.num_shards, plan.first_part, plan.basis) == (3, 7, "basis")
    newer = begin_sharing(database, STAGE, "pets", "other", [], first_part=0)
    assert find_plan(database, STAGE, "pets") == newer
    assert (is_in_force(database, plan), is_in_force(database, newer)) == (False, True)
    assert num_open_shards(database, plan) == 0
    assert find_plan(database, WorkStage.FILTERING, "pets") is None


def test_next_shard__in_order_without_those_that_are_claimed(database: Database, plan: ShardPlan) -> None:
    first = next_shard(database, plan, leads=True)
    assert first is not None
    assert (first.number, first.range) == (0, ShardRange("files-a/000000", "files-a/000001", 0, 2))
    assert not is_any_at_work(database, STAGE, "pets")
    with hold_claim(database, first.resource, wait_seconds=0):
        second = next_shard(database, plan, leads=False)
        assert second is not None
        assert second.number == 1
        assert is_any_at_work(database, STAGE, "pets")
        assert not is_any_at_work(database, STAGE, "pet")
    assert next_shard(database, plan, leads=False) == first


def test_next_shard__of_a_dead_worker_is_for_the_run_that_leads_and_comes_last(
    database: Database, plan: ShardPlan
) -> None:
    shard = next_shard(database, plan, leads=False)
    assert shard is not None
    assert try_claim(database, shard.resource) is not None
    assert begin_shard(database, shard)
    others = []
    for _ in range(2):
        other = next_shard(database, plan, leads=False)
        assert other is not None
        others.append(other.number)
        finish_shard(database, plan, other, leads=False)
    assert others == [1, 2]
    assert next_shard(database, plan, leads=True) is None  # its worker is alive
    kill_holder(database, shard.resource)
    assert next_shard(database, plan, leads=False) is None
    left = next_shard(database, plan, leads=True)
    assert left is not None
    assert (left.number, left.num_taken) == (0, 1)
    assert live_claims(database) == []


def test_put_back_shard__anybody_may_have_it_again(database: Database, plan: ShardPlan) -> None:
    shard = next_shard(database, plan, leads=False)
    assert shard is not None
    with hold_claim(database, shard.resource, wait_seconds=0):
        assert begin_shard(database, shard)
        put_back_shard(database, shard)
    assert next_shard(database, plan, leads=False) == shard


def test_begin_shard__that_is_made_already(database: Database, plan: ShardPlan) -> None:
    shard = next_shard(database, plan, leads=False)
    assert shard is not None
    finish_shard(database, plan, shard, leads=True)
    assert not begin_shard(database, shard)
    assert num_open_shards(database, plan) == 2


def test_end_sharing__and_the_removal_of_a_project_remove_its_shards(database: Database, plan: ShardPlan) -> None:
    end_sharing(database, STAGE, "pets")
    assert (find_plan(database, STAGE, "pets"), num_open_shards(database, plan)) == (None, 0)
    again = begin_sharing(database, STAGE, "pets", "basis", [ShardRange("a", "b", 0, 2)], first_part=0)
    assert num_open_shards(database, again) == 1
    delete_project(database, "pets")
    assert (sharings(database), num_open_shards(database, again)) == ([], 0)


def test_ask_to_join__waits_longer_each_time_until_a_shard_was_made_by_others(
    database: Database, plan: ShardPlan
) -> None:
    waits = []
    for _ in range(3):
        before = sharings(database)[0]
        asked = ask_to_join(database, plan, 2)
        assert asked == before.num_asked
        with database.reading() as session:
            waits.append(round((sharings(database)[0].ask_again_at - database.now(session)) / timedelta(seconds=60)))
    assert waits == [1, 2, 4]
    shard = next_shard(database, plan, leads=False)
    assert shard is not None
    finish_shard(database, plan, shard, leads=False)
    assert ask_to_join(database, plan, 1) == 6
    sharing = sharings(database)[0]
    assert (sharing.num_open, sharing.num_free, sharing.num_asked) == (2, 2, 7)
    with database.reading() as session:
        assert round((sharing.ask_again_at - database.now(session)) / timedelta(seconds=60)) == 1
    end_sharing(database, STAGE, "pets")
    assert ask_to_join(database, plan, 1) is None


def test_claims_of_shards__say_whose_they_are(database: Database, plan: ShardPlan) -> None:
    shard = next_shard(database, plan, leads=False)
    assert shard is not None
    assert shard.resource == f"shard/detection/pets/{plan.id[:8]}/0"
    with hold_claim(database, shard.resource, wait_seconds=0, run_id="run-1"):
        (claim,) = live_claims(database)
        assert (claim.pid, claim.run_id) == (os.getpid(), "run-1")
