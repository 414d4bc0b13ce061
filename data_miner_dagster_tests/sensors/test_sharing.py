from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.batches import open_batches, take_project_batch
from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.leases import find_leases, hold_lease
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.shards import (
    ShardPlan,
    Sharing,
    begin_sharing,
    finish_shard,
    next_shard,
    sharings,
)
from data_miner_dagster.catalog.work_tables import ShardPlanRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import ShardRange, WorkStage
from data_miner_dagster.jobs import JOB_BY_STAGE, SHARE_JOB_BY_STAGE
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.requests import Room
from data_miner_dagster.sensors.sharing import num_worth_asking, request_shares
from data_miner_dagster.sensors.videos import request_videos
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.coloured_shapes import PROJECT, plant_project

STAGE = WorkStage.DETECTION
BEGAN = datetime(2026, 11, 28, 12, tzinfo=UTC)


def sharing(num_shards: int, num_open: int, num_free: int, *, ask_after: float = 0) -> Sharing:
    plan = ShardPlan("p", STAGE, "pets", "basis", num_shards, 0, BEGAN)
    return Sharing(plan, num_open, num_free, 0, BEGAN + timedelta(seconds=ask_after))


@pytest.mark.parametrize(
    ("shared", "seconds", "expected"),
    [
        (sharing(64, 64, 63), 600, 0),  # no shard is finished, so there is no pace yet
        (sharing(64, 60, 59), 40, 19),  # 10 s each: 590 s of work
        (sharing(64, 4, 3), 600, 1),  # 3 shards left, 10 s each
        (sharing(64, 3, 2), 610, 0),  # 20 s of work do not justify a process
        (sharing(64, 2, 2), 6200, 2),  # 100 s each, but only two shards are left
        (sharing(64, 60, 59, ask_after=60), 40, 0),  # the processes requested before are still starting
        (sharing(64, 60, 59, ask_after=60), 60, 29),
        (sharing(64, 4, 0), 6000, 0),
    ],
)
def test_num_worth_asking__by_the_pace_so_far(shared: Sharing, seconds: float, expected: int) -> None:
    assert num_worth_asking(shared, BEGAN + timedelta(seconds=seconds)) == expected


@pytest.fixture
def instance(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    instance.event_log_storage.set_concurrency_slots("inference", 3)
    return instance


def room_of(instance: dg.DagsterInstance, platform: Platform) -> Room:
    return Room(lambda: instance, open_batches(platform.database), find_leases(platform.database))


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Return a project whose detection has run for ten minutes and finished two of ten shards."""
    platform = plant_project(tmp_path)
    ranges = [ShardRange(f"a/{at:06d}", f"a/{at:06d}", at, 1) for at in range(10)]
    plan = begin_sharing(platform.database, STAGE, PROJECT, "basis", ranges, first_part=0)
    for _ in range(2):
        shard = next_shard(platform.database, plan, leads=True)
        assert shard is not None
        finish_shard(platform.database, plan, shard, leads=True)
    with platform.database.transaction() as session:
        session.get_one(ShardPlanRow, plan.id).created_at = utc_now() - timedelta(seconds=600)
    return platform


def begin(platform: Platform) -> None:
    assert take_project_batch(platform.database, STAGE, PROJECT) is not None


def test_request_shares__as_many_as_there_are_places(platform: Platform, instance: dg.DagsterInstance) -> None:
    assert request_shares(platform, room_of(instance, platform)) == []  # no run is leading
    begin(platform)
    requests = request_shares(platform, room_of(instance, platform))  # the leading run has one of three places
    plan = sharings(platform.database)[0].plan
    assert [request.run_key for request in requests] == [f"shards:{plan.id}:0", f"shards:{plan.id}:1"]
    assert {request.job_name for request in requests} == {SHARE_JOB_BY_STAGE[STAGE]}
    assert requests[0].run_config == {"ops": {"detection_shards": {"config": {"project": PROJECT}}}}
    assert request_shares(platform, room_of(instance, platform)) == []  # the requested runs are still starting


def test_request_shares__none_where_others_have_or_want_the_places(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    begin(platform)
    with (
        hold_lease(platform.database, "run-1", JOB_BY_STAGE[WorkStage.EMBEDDING]),
        hold_lease(platform.database, "run-2", SHARE_JOB_BY_STAGE[STAGE]),
    ):
        assert request_shares(platform, room_of(instance, platform)) == []
    with hold_lease(platform.database, "run-1", JOB_BY_STAGE[WorkStage.EMBEDDING]):
        assert len(request_shares(platform, room_of(instance, platform))) == 1


def test_request_shares__none_for_what_is_paused_or_claimed(platform: Platform, instance: dg.DagsterInstance) -> None:
    begin(platform)
    hold_items(platform.database, project=PROJECT, reason="paused")
    assert request_shares(platform, room_of(instance, platform)) == []
    free = sharings(platform.database)[0].num_free
    shard = next_shard(platform.database, sharings(platform.database)[0].plan, leads=True)
    assert shard is not None
    with hold_claim(platform.database, shard.resource, wait_seconds=0):
        assert sharings(platform.database)[0].num_free == free - 1


def test_request_shares__one_place_is_for_the_run_that_leads(platform: Platform, instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("inference", 1)
    begin(platform)
    assert request_shares(platform, room_of(instance, platform)) == []


def test_request_videos__long_videos_of_one_project_are_embedded_by_several_runs(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    platform = plant_project(tmp_path)
    for number in range(6):
        add_video(platform.database, f"files-{number}", PROJECT, status=VideoStatus.EXTRACTED, num_frames=2400)
    requests = list(request_videos(platform, room_of(instance, platform)))
    keys = [request.run_config["ops"]["embedding"]["config"]["keys"] for request in requests]
    assert [len(some) for some in keys] == [2, 2, 2]  # one batch for each of three places
    assert sorted(key for some in keys for key in some) == [f"files-{number}" for number in range(6)]
