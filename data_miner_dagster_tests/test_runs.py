"""Test that runs whose process is gone, silent or hanging are ended, and no other runs."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy import update

from data_miner_dagster.catalog.claims import hold_claim, live_claims, try_claim
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.leases import find_leases, hold_lease, take_lease
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.catalog.processes import ProcessIdentity, this_process
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.work_tables import RunLeaseRow
from data_miner_dagster.jobs import is_ours
from data_miner_dagster.runs import active_runs, end_dead_runs, end_unstarted_runs, innermost_message
from data_miner_dagster_tests.launching.told_launcher import HEALTH, ToldLauncher

LIMIT = timedelta(hours=1)
STARTED = dg.DagsterRunStatus.STARTED


@dg.asset(pool="test_pool")
def thing() -> None:
    """Do nothing."""


DEFINITIONS = dg.Definitions(
    assets=[thing],
    jobs=[dg.define_asset_job("download_videos", selection=[thing]), dg.define_asset_job("others", selection=[thing])],
)
JOB = DEFINITIONS.resolve_job_def("download_videos")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(sqlite_url(tmp_path / "catalog.sqlite"))
    initialize(made)
    yield made
    made.dispose()


def end(instance: dg.DagsterInstance, database: Database) -> list[str]:
    return end_dead_runs(instance, database, is_ours=is_ours, idle_limit=LIMIT)


def start(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus = STARTED,
    *,
    tags: dict[str, str] | None = None,
    job: str = "download_videos",
) -> str:
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository")
    definition = DEFINITIONS.resolve_job_def(job)
    return instance.create_run_for_job(
        definition,
        tags=tags or {},
        status=status,
        remote_job_origin=RemoteJobOrigin(location, job),  # a queued run requires it
    ).run_id


def start_with_lease(instance: dg.DagsterInstance, database: Database, **changes: object) -> str:
    run_id = start(instance)
    take_lease(database, run_id, "download_videos")
    set_row(database, run_id, **changes)
    return run_id


def set_row(database: Database, run_id: str, **changes: object) -> None:
    if changes:
        with database.transaction() as session:
            session.execute(update(RunLeaseRow).where(RunLeaseRow.run_id == run_id).values(**changes))


def expire(database: Database, run_id: str) -> None:
    set_row(database, run_id, expires_at=utc_now() - timedelta(seconds=1))


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def messages_of(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(entry.get_dagster_event().message or "" for entry in instance.all_logs(run_id))


def test_end_dead_runs__none(instance: dg.DagsterInstance, database: Database) -> None:
    assert end(instance, database) == []


def test_end_dead_runs__only_those_whose_process_is_gone_or_silent(
    instance: dg.DagsterInstance, database: Database
) -> None:
    past = utc_now() - timedelta(seconds=1)
    gone = start_with_lease(instance, database, process_started="1")
    silent = start_with_lease(instance, database, host="code-aaaa|boot|pid", pid=7, expires_at=past)
    alive = start_with_lease(instance, database)
    elsewhere = start_with_lease(instance, database, host="code-bbbb|boot|pid")
    stopped = start_with_lease(instance, database, expires_at=past)  # held by this process, which is alive
    assert sorted(end(instance, database)) == sorted([gone, silent])
    assert {run.run_id for run in active_runs(instance)} == {alive, elsewhere, stopped}
    assert f"the run's process ({os.getpid()} on" in messages_of(instance, gone)
    assert "the run's process (7 on code-aaaa) has not reported for 90 s" in messages_of(instance, silent)
    assert {lease.run_id for lease in find_leases(database)} == {alive, elsewhere, stopped}
    assert end(instance, database) == []


def test_end_dead_runs__one_that_never_took_a_lease_has_90_s_from_the_first_tick(
    instance: dg.DagsterInstance, database: Database
) -> None:
    status = dg.DagsterRunStatus
    begun = [start(instance, one) for one in (status.STARTED, status.CANCELING)]
    waiting = [start(instance, one) for one in (status.QUEUED, status.NOT_STARTED, status.STARTING)]
    others = start(instance, job="others")
    assert end(instance, database) == []
    assert {lease.run_id for lease in find_leases(database)} == set(begun)
    for run_id in begun:
        expire(database, run_id)
    assert sorted(end(instance, database)) == sorted(begun)
    assert [status_of(instance, run_id) for run_id in begun] == [status.FAILURE, status.CANCELED]
    assert {run.run_id for run in active_runs(instance)} == {*waiting, others}


def test_end_dead_runs__a_retry_that_carries_its_parents_process_lives(
    instance: dg.DagsterInstance, database: Database
) -> None:
    inherited = {"data_miner/process": f"1@1@{this_process().host}"}  # from an earlier version's run, which is gone
    retry = start(instance, dg.DagsterRunStatus.STARTING, tags=inherited)
    assert end(instance, database) == []
    with hold_lease(database, retry, "download_videos"):
        assert end(instance, database) == []
    assert status_of(instance, retry) is dg.DagsterRunStatus.STARTING


def test_end_dead_runs__a_run_of_an_earlier_version_lives_by_its_claims(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run_id = start(instance, tags={"data_miner/process": str(this_process())})
    assert end(instance, database) == []
    expire(database, run_id)
    with hold_claim(database, "video/a", wait_seconds=0):
        assert end(instance, database) == []
    assert end(instance, database) == []  # between two claims, the run has 90 s again
    expire(database, run_id)
    assert end(instance, database) == [run_id]


def test_end_dead_runs__one_that_cannot_be_ended_keeps_no_other(
    instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [start_with_lease(instance, database, process_started="1") for _ in range(3)]
    fail = instance.report_run_failed

    def failing(run: dg.DagsterRun, *arguments: Any) -> Any:
        if run.run_id == runs[1]:
            raise ZeroDivisionError("planted")
        return fail(run, *arguments)

    monkeypatch.setattr(instance, "report_run_failed", failing)
    assert sorted(end(instance, database)) == sorted([runs[0], runs[2]])


def test_end_dead_runs__one_whose_events_are_damaged_keeps_no_other(
    instance: dg.DagsterInstance, database: Database
) -> None:
    runs = [start_with_lease(instance, database, process_started="1") for _ in range(3)]
    (Path(instance.root_directory) / "history" / "runs" / f"{runs[1]}.db").write_bytes(b"no database" * 500)
    assert sorted(end(instance, database)) == sorted([runs[0], runs[2]])


def test_end_dead_runs__frees_the_slot_and_the_claims(instance: dg.DagsterInstance, database: Database) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("test_pool", 1)
    dead = start_with_lease(instance, database, process_started="1")
    assert storage.claim_concurrency_slot("test_pool", dead, "thing").is_claimed
    assert try_claim(database, "video/a", run_id=dead) is not None
    assert try_claim(database, "video/b", run_id="another") is not None
    assert storage.get_concurrency_info("test_pool").active_slot_count == 1
    end(instance, database)
    assert storage.get_concurrency_info("test_pool").active_slot_count == 0
    assert [claim.resource for claim in live_claims(database)] == ["video/b"]


def test_end_dead_runs__a_hanging_process_that_was_launched_is_killed(
    instance: dg.DagsterInstance, database: Database
) -> None:
    code = "from data_miner_dagster.catalog.processes import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        hung = ProcessIdentity.parse(process.stdout.readline().decode().strip())
        run_id = start(instance, tags={".dagster/grpc_info": "{}"})
        take_lease(database, run_id, "download_videos")
        holder = {"host": hung.host, "pid": hung.pid, "process_started": hung.started}
        set_row(database, run_id, **holder, progress_at=utc_now() - timedelta(minutes=59))
        assert end(instance, database) == []
        set_row(database, run_id, progress_at=utc_now() - timedelta(minutes=61))
        assert end(instance, database) == [run_id]
        assert process.wait(60) == -signal.SIGKILL
    assert "has made no progress" in messages_of(instance, run_id)


def test_end_dead_runs__what_finished_runs_left_behind_goes(instance: dg.DagsterInstance, database: Database) -> None:
    finished = [start(instance, dg.DagsterRunStatus.SUCCESS) for _ in range(2)]
    take_lease(database, finished[0], "job")  # its process continues, as if the run had been ended from outside
    take_lease(database, finished[1], "job")
    set_row(database, finished[1], process_started="1")
    take_lease(database, "of another instance", "job")
    assert end(instance, database) == []
    assert [lease.run_id for lease in find_leases(database)] == ["of another instance"]
    set_row(database, "of another instance", process_started="1")
    end(instance, database)
    assert find_leases(database) == []


def test_end_unstarted_runs__only_those_that_were_launched_and_never_began(
    instance: dg.DagsterInstance, database: Database
) -> None:
    status = dg.DagsterRunStatus
    runs = {one: start(instance, one) for one in (status.NOT_STARTED, status.STARTING, status.STARTED)}
    begun = start(instance, status.STARTING)
    take_lease(database, begun, "download_videos")
    assert end_unstarted_runs(instance, database) == [runs.pop(status.STARTING)]
    assert {run.run_id for run in active_runs(instance)} == {begun, *runs.values()}


_HOLD = """
import sys, time
from pathlib import Path
from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.leases import hold_lease
database = Database(sqlite_url(Path(sys.argv[1])))
with hold_lease(database, sys.argv[2], "download_videos"), hold_claim(database, "video/a", wait_seconds=0,
        run_id=sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def elsewhere() -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "data_miner_dagster_tests.launching.told_launcher", "class": "ToldLauncher", "config": {}}
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as made:
        yield made
    HEALTH.clear()


def test_end_dead_runs__on_a_cluster_one_that_failed_while_it_started(
    elsewhere: dg.DagsterInstance, database: Database
) -> None:
    dead, waiting = (start(elsewhere, dg.DagsterRunStatus.STARTING) for _ in range(2))
    HEALTH[dead] = CheckRunHealthResult(WorkerStatus.FAILED, "its node has died")
    HEALTH[waiting] = CheckRunHealthResult(WorkerStatus.RUNNING)
    assert end(elsewhere, database) == [dead]
    assert "its node has died" in messages_of(elsewhere, dead)
    run = elsewhere.get_run_by_id(dead)
    assert run is not None
    assert run.tags["data_miner/not_launched"] == "the run failed while it was starting: its node has died"
    assert status_of(elsewhere, waiting) is dg.DagsterRunStatus.STARTING


def test_end_dead_runs__on_a_cluster_one_that_nobody_knows_has_90_s(
    elsewhere: dg.DagsterInstance, database: Database
) -> None:
    forgotten, late = (start(elsewhere, dg.DagsterRunStatus.STARTING) for _ in range(2))
    assert end(elsewhere, database) == []
    assert {lease.run_id for lease in find_leases(database)} == {forgotten, late}
    HEALTH[late] = CheckRunHealthResult(WorkerStatus.RUNNING)  # it was still being launched at the first check
    expire(database, forgotten)
    expire(database, late)
    assert end(elsewhere, database) == [forgotten]
    assert status_of(elsewhere, late) is dg.DagsterRunStatus.STARTING


def test_end_dead_runs__on_a_cluster_one_that_begins_while_it_is_asked_for(
    elsewhere: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(elsewhere, dg.DagsterRunStatus.STARTING)

    def begin(_launcher: ToldLauncher, run: dg.DagsterRun) -> CheckRunHealthResult:
        take_lease(database, run.run_id, "job")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    monkeypatch.setattr(ToldLauncher, "check_run_worker_health", begin)
    assert end(elsewhere, database) == []
    assert [lease.run_id for lease in find_leases(database)] == [run_id]


def test_end_unstarted_runs__on_a_cluster_they_may_begin_yet(elsewhere: dg.DagsterInstance, database: Database) -> None:
    start(elsewhere, dg.DagsterRunStatus.STARTING)
    assert end_unstarted_runs(elsewhere, database) == []


@contextmanager
def container(host: str, database: Database, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that executes a run in its own namespaces, as a container does. They end with the process."""
    namespaces = ["unshare", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
    inside = ["sh", "-c", f'hostname {host}; exec "$@"', "sh", sys.executable, "-c", _HOLD, str(database.file), run_id]
    with subprocess.Popen([*namespaces, *inside], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def may_unshare() -> bool:
    """Return whether this user may create namespaces."""
    tried = ["unshare", "--pid", "--uts", "--fork", "--mount-proc", "hostname", "x"]
    return (
        shutil.which("unshare") is not None and subprocess.run(tried, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not may_unshare(), reason="namespaces need root")
def test_end_dead_runs__the_run_of_a_container_that_was_replaced(
    instance: dg.DagsterInstance, database: Database
) -> None:
    run_id = start(instance)
    with container("code-aaaa", database, run_id) as first:
        [lease] = find_leases(database)
        assert lease.host.startswith("code-aaaa|")
        assert end(instance, database) == []
        first.kill()
        first.wait()
    assert end(instance, database) == [], "from here nobody can see that it is gone"
    assert [claim.resource for claim in live_claims(database)] == ["video/a"]
    expire(database, run_id)
    assert end(instance, database) == [run_id]
    assert "on code-aaaa) has not reported for 90 s" in messages_of(instance, run_id)
    again = start(instance)
    with container("code-bbbb", database, again):  # this run takes the claim immediately
        assert end(instance, database) == []
        assert [claim.run_id for claim in live_claims(database)] == [again]


def test_innermost_message__is_the_cause_and_not_what_dagster_says_around_it() -> None:
    cause = SerializableErrorInfo("ImportError: cannot import\n  name 'x'\n", [], "ImportError")
    around = SerializableErrorInfo("DagsterExecutionStepExecutionError: Error occurred", [], None, cause)
    assert innermost_message(around) == "ImportError: cannot import name 'x'"
