"""The failed runs that `data-miner up` shows in its terminal, tested with real runs in a real instance."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from data_miner_dagster.assets.outcomes import MAX_RETRIES_TAG, NO_RETRIES
from data_miner_dagster.catalog.batches import end_batch, take_batch
from data_miner_dagster.cli.failed_runs import FailedRuns
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import BATCH_TAGS, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import RANGE_END_TAG, RANGE_START_TAG, VIDEOS
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.local_projects import make_platform

ADDRESS = "http://127.0.0.1:3000"


@dg.op
def _fails() -> None:
    raise dg.Failure("files-aaa: cannot be decoded\nat all")


@dg.op
def _has_a_bug() -> None:
    raise ValueError("no such thing")


@dg.op
def _works() -> None:
    pass


@dg.job
def fails() -> None:
    _fails()


@dg.job
def has_a_bug() -> None:
    _has_a_bug()


@dg.job
def works() -> None:
    _works()


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["files-aaa"]))
def frames() -> None:
    raise dg.Failure("files-aaa: cannot be decoded")


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return make_platform(tmp_path)


@pytest.fixture
def instance(platform: Platform) -> Iterator[dg.DagsterInstance]:
    platform.root.mkdir(exist_ok=True)
    with open_instance(platform) as instance:
        yield instance


@pytest.fixture
def failed(platform: Platform, instance: dg.DagsterInstance) -> Iterator[FailedRuns]:
    fails.execute_in_process(instance=instance, raise_on_error=False)  # before `up` was started
    found = FailedRuns(platform, ADDRESS)
    assert found.look() == []
    yield found
    found.close()


def test_failed_runs__of_a_backfill_is_told_once_with_its_page(
    failed: FailedRuns, instance: dg.DagsterInstance
) -> None:
    job = dg.Definitions(assets=[frames]).resolve_implicit_global_asset_job_def()
    run = job.execute_in_process(
        partition_key="files-aaa",
        asset_selection=[frames.key],
        instance=instance,
        tags={"dagster/backfill": "jkabcdef"},
        raise_on_error=False,
    )
    assert failed.look() == [
        f"run {run.run_id[:8]} (frames of files-aaa, backfill jkabcdef) failed: files-aaa: cannot be decoded; correct "
        f"the cause, then re-execute the run at {ADDRESS}/runs/{run.run_id}"
    ]
    assert failed.look() == []


def test_failed_runs__says_the_cause_in_one_line_and_what_goes_on_by_itself(
    failed: FailedRuns, instance: dg.DagsterInstance
) -> None:
    works.execute_in_process(instance=instance)
    planned = fails.execute_in_process(
        instance=instance, tags={MAX_RETRIES_TAG: NO_RETRIES}, raise_on_error=False
    ).run_id
    buggy = has_a_bug.execute_in_process(instance=instance, raise_on_error=False).run_id
    instance.add_run_tags(buggy, {"dagster/will_retry": "true"})  # as Dagster does for a run whose process has died
    assert failed.look() == [
        f"run {planned[:8]} (fails) failed: files-aaa: cannot be decoded at all; `data-miner status` shows what is "
        f"retried and when; its log is at {ADDRESS}/runs/{planned}",
        f"run {buggy[:8]} (has_a_bug) failed: ValueError: no such thing; Dagster starts it again; its log is at "
        f"{ADDRESS}/runs/{buggy}",
    ]


def test_failed_runs__what_another_line_explains_is_not_told_and_the_planner_is_awaited(
    failed: FailedRuns, platform: Platform, instance: dg.DagsterInstance
) -> None:
    add_project(platform.database, "bikes")
    add_video(platform.database, "a", "bikes", status=VideoStatus.DOWNLOADED, sha256="a", duration_seconds=60)
    batch = take_batch(platform.database, WorkStage.EXTRACTION)
    assert batch is not None
    tags = {BATCH_TAGS[0]: str(batch.id)}
    run = fails.execute_in_process(instance=instance, tags=tags, raise_on_error=False).run_id
    assert failed.look() == []  # only the end of the batch shows whether a project's line explains the failure
    end_batch(platform.database, batch.id, "its run died")
    explained = fails.execute_in_process(instance=instance, raise_on_error=False).run_id
    (line,) = failed.look([explained])
    assert line.startswith(f"run {run[:8]} ")
    assert failed.look() == []


def test_failed_runs__of_a_process_that_was_killed(failed: FailedRuns, instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(works)
    instance.report_run_failed(run)  # as Dagster's run monitoring does
    assert failed.look() == [
        f"run {run.run_id[:8]} (works) failed: its process ended without giving a reason; Dagster starts it again; "
        f"its log is at {ADDRESS}/runs/{run.run_id}"
    ]


def test_failed_runs__many_at_once_are_counted(failed: FailedRuns, instance: dg.DagsterInstance) -> None:
    for _ in range(7):
        fails.execute_in_process(instance=instance, raise_on_error=False)
    lines = failed.look()
    assert len(lines) == 6
    assert lines[-1] == f"2 more runs have failed; see {ADDRESS}/runs"


def test_failed_runs__without_an_instance_there_are_none(platform: Platform) -> None:
    found = FailedRuns(platform, ADDRESS)
    assert found.look() == []
    found.close()


@dg.asset(name="videos", partitions_def=VIDEOS, output_required=False)
def some_videos(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    """Succeed like a run of several videos, but materialize only the first."""
    context.log_event(dg.AssetMaterialization("videos", partition="files-aaa"))
    yield from ()


@pytest.mark.parametrize("status", [BulkActionStatus.COMPLETED_FAILED, BulkActionStatus.COMPLETED_SUCCESS])
def test_failed_runs__a_backfill_that_ends_as_failed_although_its_run_succeeded(
    failed: FailedRuns, instance: dg.DagsterInstance, status: BulkActionStatus
) -> None:
    keys = ["files-aaa", "files-bbb", "files-ccc"]
    instance.add_dynamic_partitions("videos", keys)
    definitions = dg.Definitions(assets=[some_videos])
    graph = definitions.resolve_asset_graph()

    def subset(*keys: str) -> AssetGraphSubset:
        return AssetGraphSubset.from_asset_partition_set(
            {AssetKeyPartitionKey(some_videos.key, k) for k in keys}, graph
        )

    backfill = PartitionBackfill.from_asset_graph_subset(
        "jkabcdef",
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        asset_graph_subset=subset(*keys),
        title=None,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    assert failed.look() == []
    run = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[some_videos.key],
        instance=instance,
        tags={"dagster/backfill": "jkabcdef", RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]},
    )
    assert run.success
    # record the result as the daemon would
    assert backfill.asset_backfill_data is not None
    data = backfill.asset_backfill_data._replace(materialized_subset=subset("files-aaa"))
    instance.update_backfill(backfill.with_asset_backfill_data(data, instance, graph).with_status(status))
    lines = failed.look()
    if status is BulkActionStatus.COMPLETED_SUCCESS:
        assert lines == []
        return
    assert lines == [
        "backfill jkabcdef (videos) ended as failed although its runs succeeded: 2 of 3 partitions got no result from "
        "it, because their videos failed or other runs were processing them; run `data-miner videos --failed` to see "
        f"which videos failed and why; its page is {ADDRESS}/runs/b/jkabcdef"
    ]
    assert failed.look() == []
