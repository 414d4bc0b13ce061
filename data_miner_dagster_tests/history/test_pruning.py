"""Tests, on each of Dagster's storages, what remains after pruning."""

import contextlib
import sqlite3
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from data_miner_dagster.history import pruning
from data_miner_dagster.history.pruning import Ours, Pruning, prune_history, would_prune
from data_miner_dagster.partitions import PROJECTS, VIDEOS

KEYS = ["files-aaa", "files-bbb", "files-ccc"]
TAGS = {"data_miner/batch": "7"}
MONTH = timedelta(days=30)


class Config(dg.Config):
    num_frames: int = 1
    fails: bool = False


@dg.asset(partitions_def=VIDEOS)
def frames(context: dg.AssetExecutionContext, config: Config) -> dg.MaterializeResult[None]:
    print("looking at it")  # noqa: T201 - a compute log
    if config.fails:
        raise ValueError("planted")
    context.log_event(dg.AssetObservation("frames", partition=context.partition_key, metadata={"seen": True}))
    return dg.MaterializeResult(metadata={"num_frames": config.num_frames}, data_version=dg.DataVersion("v"))


@dg.asset(partitions_def=PROJECTS)
def dataset() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"images": 5})


@dg.asset_check(asset=dataset, partitions_def=PROJECTS)
def is_whole() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"files": 3})


ASSETS = [frames.key, dataset.key]
OURS = Ours(ASSETS, ["embed_frames"])


def add_keys(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(VIDEOS.name), KEYS)
    instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists"])


def run(instance: dg.DagsterInstance, key: str, num_frames: int = 1, *, fails: bool = False) -> str:
    config = {"ops": {"frames": {"config": {"num_frames": num_frames, "fails": fails}}}}
    done = dg.materialize(
        [frames], partition_key=key, instance=instance, tags=TAGS, run_config=config, raise_on_error=False
    )
    return done.run_id


def build(instance: dg.DagsterInstance) -> str:
    return dg.materialize([dataset, is_whole], partition_key="cyclists", instance=instance, tags=TAGS).run_id


class State(NamedTuple):
    """What the UI shows about assets."""

    materialized: dict[str, set[str]]
    latest: list[tuple[Any, ...]]
    checks: list[tuple[Any, ...]]
    failed: set[str]


def state_of(instance: dg.DagsterInstance) -> State:
    storage: Any = instance.event_log_storage
    records = [
        instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[partition]), limit=1).records[0]
        for key in ASSETS
        for partition in sorted(instance.get_materialized_partitions(key))
    ]
    checks = storage.get_asset_check_partition_info(list(is_whole.check_keys))
    executions = storage.get_latest_asset_check_execution_by_key(list(is_whole.check_keys)).values()
    evaluations = [execution.event.dagster_event.asset_check_evaluation_data for execution in executions]
    attempts = storage.get_latest_asset_partition_materialization_attempts_without_materializations(frames.key)
    return State(
        {key.to_user_string(): instance.get_materialized_partitions(key) for key in ASSETS},
        [(made.partition_key, made.storage_id, made.timestamp, repr(made.asset_materialization)) for made in records],
        [
            *((info.partition_key, info.latest_execution_status, info.is_current) for info in checks),
            *((said.passed, said.metadata, said.target_materialization_data.storage_id) for said in evaluations),
        ],
        set(attempts),
    )


def prune(instance: dg.DagsterInstance, older_than: timedelta = MONTH, *, later: timedelta = 2 * MONTH) -> Pruning:
    return prune_history(instance, OURS, older_than, now=datetime.now(UTC) + later)


def stored_files(instance: dg.DagsterInstance) -> list[str]:
    """Return the files that belong to single runs: events and logs."""
    files = [path for path in Path(instance.root_directory).rglob("*") if path.is_file()]
    return sorted(str(path) for path in files if "-" in path.stem or path.parent.name == "compute_logs")


def test_prune_history__the_state_of_partitions_is_as_before(instance: dg.DagsterInstance) -> None:
    add_keys(instance)
    run(instance, KEYS[0], 1)
    run(instance, KEYS[0], 2)
    failed = run(instance, KEYS[1], fails=True)
    build(instance)
    before = state_of(instance)
    assert "'num_frames': IntMetadataValue(value=2)" in before.latest[0][3]
    assert before.failed == {KEYS[1]}
    would = would_prune(instance, OURS, MONTH, now=datetime.now(UTC) + 2 * MONTH)
    assert (would.num_runs, would.num_states, len(instance.get_runs())) == (3, 2, 4)
    pruned = prune(instance)
    assert (pruned.num_runs, pruned.num_states, pruned.num_events) == (3, 2, would.num_events)
    assert pruned.line().startswith("removed 3 runs with ")
    assert [left.run_id for left in instance.get_runs()] == [failed]
    assert all(failed in path for path in stored_files(instance))
    assert state_of(instance) == before
    assert prune(instance).num_events == 0
    assert state_of(instance) == before

    # superseded events and events whose key was deleted are no longer part of the state
    later = run(instance, KEYS[0], 3)
    again = build(instance)
    instance.delete_dynamic_partition(str(VIDEOS.name), KEYS[1])
    after = state_of(instance)
    pruned = prune(instance, later=timedelta(0))  # the new runs are too young to be pruned
    assert (pruned.num_runs, pruned.num_events, state_of(instance)) == (0, 2, after)
    assert {left.run_id for left in instance.get_runs()} == {failed, later, again}
    pruned = prune(instance)
    assert (pruned.num_runs, pruned.num_states) == (3, 2)
    assert (state_of(instance).latest, state_of(instance).checks) == (after.latest, after.checks)
    assert (instance.get_runs(), stored_files(instance)) == ([], [])


@pytest.mark.parametrize("instance", ["sqlite"], indirect=True)
def test_prune_history__young_runs_runs_of_others_runs_in_flight_and_what_these_repeat_stay(
    instance: dg.DagsterInstance,
) -> None:
    def ended(**options: Any) -> str:
        made = create_run_for_test(instance, **{"tags": TAGS, "status": dg.DagsterRunStatus.SUCCESS, **options})
        return str(made.run_id)

    old, repeated, foreign = ended(), ended(), ended(tags={})
    untagged = ended(tags={}, job_name="embed_frames")
    active = ended(status=dg.DagsterRunStatus.STARTED, parent_run_id=repeated, root_run_id=repeated)
    assert prune(instance, later=timedelta(days=29)).num_runs == 0
    assert prune(instance).num_runs == len({old, untagged})
    assert {left.run_id for left in instance.get_runs()} == {repeated, foreign, active}


@pytest.mark.parametrize("instance", ["sqlite"], indirect=True)
def test_prune_history__a_kill_half_way_is_made_good(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_keys(instance)
    for key in KEYS[:2]:
        run(instance, key)
    before = state_of(instance)
    gone = str(uuid.uuid4())
    leftover = Path(instance.root_directory, "history", "runs", f"{gone}.db")  # left by a run deleted in the UI
    leftover.write_bytes(b"")
    removed: list[str] = []

    def killed(_instance: dg.DagsterInstance, run_id: str) -> None:
        removed.append(run_id)
        if len(removed) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(pruning, "remove_files_of", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(instance)
    assert (len(instance.get_runs()), state_of(instance)) == (1, before)
    pruned = prune(instance)
    assert (pruned.num_runs, instance.get_runs(), stored_files(instance)) == (1, [], [])
    assert not leftover.exists()
    assert state_of(instance) == before


@pytest.mark.parametrize("instance", ["sqlite"], indirect=True)
def test_prune_history__free_space_of_files_is_given_back(instance: dg.DagsterInstance) -> None:
    database = Path(instance.root_directory, "schedules", "schedules.db")
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE ballast (content BLOB)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(3000000))")
        connection.execute("DROP TABLE ballast")
    assert prune(instance).freed_bytes > 2_900_000
    assert database.stat().st_size < 200_000


def test_prune_history__old_ticks_go_and_skipped_ones_sooner(instance: dg.DagsterInstance) -> None:
    now = datetime.now(UTC)
    outcomes = ((TickStatus.SKIPPED, 0.2), (TickStatus.SKIPPED, 0.3), (TickStatus.SUCCESS, 2), (TickStatus.SUCCESS, 31))
    for location in ("data_miner_dagster", "somebody"):
        origin = RemoteRepositoryOrigin(
            ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location), "__repository__"
        ).get_instigator_origin("videos")
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
        instance.add_instigator_state(state)
        for status, days in outcomes:
            at, kind = (now - timedelta(days=days)).timestamp(), InstigatorType.SENSOR
            tick = TickData(origin.get_id(), "videos", kind, status, at, run_ids=["a"], selector_id=state.selector_id)
            instance.create_tick(tick)
    assert would_prune(instance, OURS, MONTH, now=now).num_ticks == 2
    assert prune(instance, later=timedelta(0)).num_ticks == 2
    numbers = {
        state.origin.repository_origin.code_location_origin.location_name: len(
            instance.get_ticks(state.instigator_origin_id, state.selector_id)
        )
        for state in instance.all_instigator_state()
    }
    assert numbers == {"data_miner_dagster": 2, "somebody": 4}
