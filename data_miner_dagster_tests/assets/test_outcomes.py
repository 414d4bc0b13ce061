"""How outcomes become Dagster events, on a real instance."""

import errno
import os
import signal
import time
from collections.abc import Iterator, Sequence

import dagster as dg
import pytest

from data_miner_dagster import __version__
from data_miner_dagster.assets.outcomes import (
    FAILURE_KIND,
    OUTAGE_KIND,
    failure_of,
    materialize_project,
    materialize_videos,
)
from data_miner_dagster.domain.errors import ConfigError, NotReadyError, SystematicFaultError, TransientError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, VideoOutcome
from data_miner_dagster.operations.platform import ReportVideo
from data_miner_dagster.partitions import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from data_miner_dagster.runs import SYSTEMATIC_FAULT_TAG

KEYS = ["a", "b", "broken", "busy", "full", "interrupted", "private", "z"]
ATTEMPTS: list[str] = []
PARTITIONS = dg.DynamicPartitionsDefinition(name="outcome_tests")


def work(keys: Sequence[str], report: ReportVideo) -> list[VideoOutcome]:
    outcomes = []
    for key in keys:
        if key == "private":
            outcome = VideoOutcome(key, OutcomeStatus.UNAVAILABLE, VideoErrorKind.PRIVATE, "the owner keeps it private")
        else:
            outcome = VideoOutcome(key, OutcomeStatus.DONE, metadata={"num_frames": 3})
        report(outcome)
        outcomes.append(outcome)
    return outcomes


@dg.asset(partitions_def=PARTITIONS, output_required=False)
def first(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    yield from materialize_videos(context, work)


@dg.asset(partitions_def=PARTITIONS, deps=[first], output_required=False)
def second(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    yield from materialize_videos(context, work)


@dg.asset(partitions_def=PARTITIONS)
def project_asset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    def decide(project: str) -> ProjectOutcome:
        if project == "private":
            raise ConfigError("no such class: 'unicorn'; known: horse")
        if project == "b":
            raise NotReadyError("b has not been filtered")
        if project == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if project == "busy" and not context.retry_number:
            raise TransientError("the catalog cannot be opened")
        if project == "interrupted":
            ATTEMPTS.append(project)
            context.instance.report_run_canceling(context.run)  # as Dagster does when a run is terminated
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
            ATTEMPTS.append("slept to the end")
        if project == "broken":
            raise SystematicFaultError("detections: all 3 items failed with the same internal error")
        told = {"warning": "many frames wait", "version": "v001"}
        return ProjectOutcome(project, OutcomeStatus.DONE, "f" * 32, {"kept": 2, "black": 1, "no boxes": 0}, told)

    def metadata_of(project: str) -> dict[str, dg.MetadataValue]:
        if project == "z":
            raise ZeroDivisionError("planted")
        return {"changes": dg.MetadataValue.text("1 image more"), "extra": dg.MetadataValue.text(project)}

    return materialize_project(context, decide, metadata_of)


DEFINITIONS = dg.Definitions(
    assets=[first, second, project_asset],
    jobs=[
        dg.define_asset_job("one", selection=[first]),
        dg.define_asset_job("both", selection=[first, second]),
        dg.define_asset_job("project", selection=[project_asset]),
    ],
    executor=dg.in_process_executor,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        made.add_dynamic_partitions("outcome_tests", KEYS)
        yield made


def run(
    instance: dg.DagsterInstance, job: str, *, start: str | None = None, end: str | None = None, key: str | None = None
) -> dg.ExecuteInProcessResult:
    tags = {RANGE_START_TAG: start, RANGE_END_TAG: end} if start and end else {}
    resolved = DEFINITIONS.resolve_job_def(job)
    return resolved.execute_in_process(instance=instance, partition_key=key, tags=tags, raise_on_error=False)


def materialized(instance: dg.DagsterInstance, asset: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(asset)))


def test_materialize_videos__one_bad_video_fails_neither_its_batch_nor_the_run(instance: dg.DagsterInstance) -> None:
    assert run(instance, "one", start="a", end="z").success
    assert materialized(instance, "first") == set(KEYS) - {"private"}
    observed = instance.fetch_observations(dg.AssetKey("first"), limit=10).records
    assert [record.partition_key for record in observed] == ["private"]
    metadata = observed[0].asset_observation.metadata if observed[0].asset_observation else {}
    assert metadata["reason"].value == "private"
    assert metadata["message"].value == "the owner keeps it private"
    made = instance.fetch_materializations(dg.AssetKey("first"), limit=1).records[0].event_log_entry
    assert made.step_key == "first"
    assert len(dg.serialize_value(made)) < 1_150  # the event contains nothing about the step except its key


def test_materialize_videos__a_single_partition_that_cannot_exist_fails_with_its_reason(
    instance: dg.DagsterInstance,
) -> None:
    result = run(instance, "one", key="private")
    assert result.dagster_run.tags[PARTITION_TAG] == "private"
    assert not result.success
    (event,) = result.get_step_failure_events()
    user_failure = event.step_failure_data.user_failure_data
    assert user_failure is not None
    assert user_failure.description == "private: the owner keeps it private"


def test_materialize_videos__a_single_partition_is_one_event_and_goes_on(instance: dg.DagsterInstance) -> None:
    assert run(instance, "both", key="a").success
    assert len(instance.fetch_materializations(dg.AssetKey("first"), limit=10).records) == 1
    assert materialized(instance, "second") == {"a"}


def test_materialize_videos__a_whole_range_goes_on_to_the_next_step(instance: dg.DagsterInstance) -> None:
    assert run(instance, "both", start="a", end="b").success
    assert materialized(instance, "second") == {"a", "b"}


def test_materialize_project__the_result_is_a_line(instance: dg.DagsterInstance) -> None:
    assert run(instance, "project", key="a").success
    (record,) = instance.fetch_materializations(dg.AssetKey("project_asset"), limit=1).records
    materialization = record.asset_materialization
    assert materialization is not None
    assert list(materialization.metadata) == ["result", "extra", "status"]
    assert materialization.metadata["result"].value == "v001: 2 kept, 1 black; 1 image more; many frames wait"
    assert materialization.metadata["extra"].value == "a"
    assert "f" * 32 in (materialization.tags or {}).values()


def test_materialize_project__our_errors_are_one_line(instance: dg.DagsterInstance) -> None:
    result = run(instance, "project", key="private")
    assert not result.success
    (event,) = result.get_step_failure_events()
    user_failure = event.step_failure_data.user_failure_data
    assert user_failure is not None
    assert user_failure.description == "no such class: 'unicorn'; known: horse"


@pytest.mark.parametrize(
    ("key", "kind", "line"),
    [
        ("private", "ConfigError", "no such class: 'unicorn'; known: horse"),
        ("b", "NotReadyError", "b has not been filtered"),
        (
            "full",
            "TransientError",
            "no space is left on the disk of the root; free some space, then run the command again (`data-miner up` "
            "continues automatically)",
        ),
    ],
)
def test_materialize_project__a_failure_says_its_kind_and_materializes_nothing(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, key: str, kind: str, line: str
) -> None:
    monkeypatch.setattr("data_miner_dagster.assets.outcomes._RETRY_SECONDS", 0)
    result = run(instance, "project", key=key)
    assert not result.success
    assert materialized(instance, "project_asset") == set()
    (event,) = result.get_step_failure_events()
    user_failure = event.step_failure_data.user_failure_data
    assert user_failure is not None
    assert user_failure.description == line
    assert user_failure.metadata[FAILURE_KIND].value == kind
    shown = instance.fetch_observations(dg.AssetKey("project_asset"), limit=1).records
    if key != "full":  # Dagster retries this run itself
        observation = shown[0].asset_observation
        assert observation is not None
        assert (observation.partition, observation.metadata["status"].value) == (key, f"failed: {line}")
        assert f"`data-miner retry --project {key}`" in str(observation.metadata["next"].value)
    outage = user_failure.metadata.get(OUTAGE_KIND)
    assert (None if outage is None else outage.value) == ("disk_full" if key == "full" else None)


def test_materialize_project__what_may_pass_is_tried_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.assets.outcomes._RETRY_SECONDS", 0)
    result = run(instance, "project", key="busy")
    assert result.success
    (retry,) = [event for event in result.all_events if event.is_step_up_for_retry]
    assert retry.step_retry_data.error is not None
    assert retry.step_retry_data.error.cause is not None
    assert "the catalog cannot be opened" in retry.step_retry_data.error.cause.message


def test_materialize_project__a_cancelled_run_ends_and_is_not_tried_again(instance: dg.DagsterInstance) -> None:
    ATTEMPTS.clear()
    assert not run(instance, "project", key="interrupted").success
    assert ATTEMPTS == ["interrupted"]
    (cancelled,) = instance.get_runs()
    assert cancelled.status is dg.DagsterRunStatus.CANCELED


def test_materialize_project__a_run_that_a_fault_of_all_has_ended_says_in_which_version(
    instance: dg.DagsterInstance,
) -> None:
    assert not run(instance, "project", key="broken").success
    (failed,) = instance.get_runs()
    assert failed.tags[SYSTEMATIC_FAULT_TAG] == __version__


def test_materialize_project__what_cannot_be_drawn_fails_nothing(instance: dg.DagsterInstance) -> None:
    assert run(instance, "project", key="z").success
    (record,) = instance.fetch_materializations(dg.AssetKey("project_asset"), limit=1).records
    materialization = record.asset_materialization
    assert materialization is not None
    assert (
        materialization.metadata["preview"].value
        == "the preview and links could not be created: ZeroDivisionError: planted"
    )
    logged = [entry.user_message for entry in instance.all_logs(record.run_id) if entry.level == 40]
    assert any("metadata: z: ZeroDivisionError: planted" in line and "Traceback" in line for line in logged), logged


def test_failure_of__holds_neither_secrets_nor_control_characters() -> None:
    failed = failure_of(ConfigError("no \x1b[31m answer of https://me:5EC12E7@a.test/?token=5EC12E7"))
    assert failed.description == r"no \u001b[31m answer of https://a.test/?token=***"
