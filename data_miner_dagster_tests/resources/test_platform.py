"""A run's process holds its lease from its first step to its last."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.catalog.processes import this_process
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import RunEndedError
from data_miner_dagster.jobs import is_ours
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster.runs import end_dead_runs

LIMIT = timedelta(hours=1)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    return PlatformResource().open()


SEEN: list[tuple[str, str | None, list[str | None]]] = []


def _look(platform: PlatformResource, step: str, run_id: str) -> None:
    opened = platform.open()
    with opened.hold_video("a"):
        holders = [claim.run_id for claim in live_claims(opened.database)]
    SEEN.append((step, opened.run_id, holders))
    assert [lease.run_id for lease in find_leases(opened.database)] == [run_id]


@dg.asset
def earlier(context: dg.AssetExecutionContext, platform: PlatformResource) -> None:
    """Run as the first step."""
    _look(platform, "earlier", context.run.run_id)


@dg.asset(deps=[earlier])
def later(context: dg.AssetExecutionContext, platform: PlatformResource) -> None:
    """Run as the second step."""
    _look(platform, "later", context.run.run_id)


@dg.asset_check(asset=later)
def checked(context: dg.AssetCheckExecutionContext, platform: PlatformResource) -> dg.AssetCheckResult:
    """Check the second step."""
    _look(platform, "checked", context.run.run_id)
    return dg.AssetCheckResult(passed=True)


STEPS = dg.Definitions(
    assets=[earlier, later],
    asset_checks=[checked],
    jobs=[dg.define_asset_job("steps")],
    resources={"platform": PlatformResource()},
    executor=dg.in_process_executor,
)


def test_platform_resource__holds_the_lease_through_all_steps(instance: dg.DagsterInstance, platform: Platform) -> None:
    SEEN.clear()
    result = STEPS.resolve_job_def("steps").execute_in_process(instance=instance)
    assert result.success
    run_id = result.run_id
    assert [(step, run_id, [run_id]) for step in ("earlier", "later", "checked")] == SEEN
    assert find_leases(platform.database) == []
    assert platform.run_id is None


def test_platform_resource__a_run_that_was_ended_before_it_began_does_nothing(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    job = STEPS.resolve_job_def("steps")
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)
    context = dg.build_init_resource_context(instance=instance)
    context._dagster_run = run
    with ExitStack() as stack:
        resource = stack.enter_context(PlatformResource().yield_for_execution(context))
        with pytest.raises(RunEndedError), resource.open().hold_video("a"):
            raise AssertionError("entered")
    assert find_leases(platform.database) == []


def test_run_idle_limit__longer_than_any_item_may_take(tmp_path: Path) -> None:
    def limit(**sections: object) -> float:
        config = PlatformConfig.model_validate(sections)
        return Platform(config, tmp_path).run_idle_limit.total_seconds()

    assert limit() == 5400
    assert limit(downloading={"max_wall_seconds": 7200}) == 10800
    assert limit(extraction={"limits": {"max_seconds": 10000}}) == 15000
    assert limit(runs={"max_idle_seconds": 9000}) == 9000


def test_end_dead_runs__reexecutions_live_under_ticks_without_a_pause(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    """Tick at any moment of a run: before it has a lease, between its steps, and after its end."""
    ended: list[str] = []
    num_ticks = 0
    is_over = threading.Event()

    def tick() -> None:
        nonlocal num_ticks
        while not is_over.is_set():
            ended.extend(end_dead_runs(instance, platform.database, is_ours=lambda _: True, idle_limit=LIMIT))
            num_ticks += 1

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        of_a_dead_parent = {"data_miner/process": f"1@1@{this_process().host}"}
        for _ in range(3):
            assert STEPS.resolve_job_def("steps").execute_in_process(instance=instance, tags=of_a_dead_parent).success
    finally:
        is_over.set()
        ticking.join()
    assert ended == []
    assert num_ticks > 10
    assert end_dead_runs(instance, platform.database, is_ours=is_ours, idle_limit=LIMIT) == []
    assert find_leases(platform.database) == []
