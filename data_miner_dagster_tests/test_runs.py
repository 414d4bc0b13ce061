"""Runs whose process is gone are ended, and nobody else's."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.runs import PROCESS_TAG, active_runs, end_dead_runs, end_unstarted_runs, process_tags


@dg.asset(pool="test_pool")
def thing() -> None:
    """Nothing."""


JOB = dg.Definitions(assets=[thing], jobs=[dg.define_asset_job("job", selection=[thing])]).resolve_job_def("job")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def dead_process() -> ProcessIdentity:
    """A process that was real and is no more."""
    code = "from data_miner_dagster.catalog.processes import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ProcessIdentity.parse(done.stdout.strip())


def start(instance: dg.DagsterInstance, process: ProcessIdentity | None) -> str:
    tags = {} if process is None else {PROCESS_TAG: str(process)}
    return instance.create_run_for_job(JOB, tags=tags, status=dg.DagsterRunStatus.STARTED).run_id


def test_end_dead_runs__none(instance: dg.DagsterInstance) -> None:
    assert end_dead_runs(instance) == []


def test_end_dead_runs__only_those_whose_process_is_gone(
    instance: dg.DagsterInstance, dead_process: ProcessIdentity
) -> None:
    dead = start(instance, dead_process)
    alive = start(instance, this_process())
    elsewhere = start(instance, replace(dead_process, host="another"))
    unknown = start(instance, None)
    assert end_dead_runs(instance) == [dead]
    run = instance.get_run_by_id(dead)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert {run.run_id for run in active_runs(instance)} == {alive, elsewhere, unknown}
    assert end_dead_runs(instance) == []


def test_end_dead_runs__one_that_cannot_be_ended_keeps_no_other(
    instance: dg.DagsterInstance, dead_process: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [start(instance, dead_process) for _ in range(3)]
    fail = instance.report_run_failed

    def failing(run: dg.DagsterRun, *arguments: Any) -> Any:
        if run.run_id == runs[1]:
            raise ZeroDivisionError("planted")
        return fail(run, *arguments)

    monkeypatch.setattr(instance, "report_run_failed", failing)
    assert sorted(end_dead_runs(instance)) == sorted([runs[0], runs[2]])


def test_end_dead_runs__frees_the_slot(instance: dg.DagsterInstance, dead_process: ProcessIdentity) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("test_pool", 1)
    dead = start(instance, dead_process)
    assert storage.claim_concurrency_slot("test_pool", dead, "thing").is_claimed
    assert storage.get_concurrency_info("test_pool").active_slot_count == 1
    end_dead_runs(instance)
    assert storage.get_concurrency_info("test_pool").active_slot_count == 0


def test_process_identity__is_of_one_process_and_reads_back() -> None:
    mine = this_process()
    assert ProcessIdentity.parse(str(mine)) == mine
    assert process_tags() == {PROCESS_TAG: str(mine)}
    assert not mine.is_gone()
    assert replace(mine, started="0").is_gone(), "a reused pid is another process"


def test_end_unstarted_runs__only_those_that_were_launched_and_never_began(instance: dg.DagsterInstance) -> None:
    status = dg.DagsterRunStatus
    runs = {
        one: instance.create_run_for_job(JOB, status=one).run_id
        for one in (status.NOT_STARTED, status.STARTING, status.STARTED)
    }
    begun = instance.create_run_for_job(JOB, tags=process_tags(), status=status.STARTING).run_id
    assert end_unstarted_runs(instance) == [runs.pop(status.STARTING)]
    assert {run.run_id for run in active_runs(instance)} == {begun, *runs.values()}
