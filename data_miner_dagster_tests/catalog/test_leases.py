"""Leases of runs, on both databases: which runs are alive, gone or hanging."""

import threading
import time
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from data_miner_dagster.catalog import leases, renewal
from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.leases import (
    RunState,
    find_leases,
    hold_lease,
    judge_leases,
    process_of,
    remove_leases,
    remove_provisional_leases,
    seize_lease,
    take_lease,
)
from data_miner_dagster.catalog.processes import this_process
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.work_tables import RunLeaseRow
from data_miner_dagster.domain.errors import RunEndedError
from data_miner_dagster_tests.support.waiting import wait_until

HOUR = timedelta(hours=1)


def set_row(database: Database, run_id: str, **values: object) -> None:
    with database.transaction() as session:
        session.execute(update(RunLeaseRow).where(RunLeaseRow.run_id == run_id).values(**values))


def lease_of(database: Database, run_id: str) -> RunLeaseRow:
    return next(lease for lease in find_leases(database) if lease.run_id == run_id)


def state_of(database: Database, run_id: str, limit: timedelta = HOUR) -> RunState:
    return judge_leases(database, {}, idle_limit=limit)[run_id].state


def ago(**of: float) -> datetime:
    return utc_now() - timedelta(**of)


def test_judge_leases__none(database: Database) -> None:
    assert judge_leases(database, {}, idle_limit=HOUR) == {}
    remove_leases(database, [])


def test_hold_lease__names_the_process_and_is_removed(database: Database) -> None:
    with hold_lease(database, "run-1", "download_videos", "street"):
        row = lease_of(database, "run-1")
        assert process_of(row) == this_process()
        assert (row.job, row.project, row.num_done, row.expires_at - row.started_at) == (
            "download_videos",
            "street",
            0,
            timedelta(seconds=90),
        )
        assert state_of(database, "run-1") is RunState.ALIVE
    assert find_leases(database) == []


def test_hold_lease__removed_when_the_block_raises_but_not_another_holders(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), hold_lease(database, "run-1", "job"):
        raise ZeroDivisionError
    assert find_leases(database) == []
    with hold_lease(database, "run-1", "job"):
        set_row(database, "run-1", host="elsewhere")
    assert [row.host for row in find_leases(database)] == ["elsewhere"]


def test_hold_lease__one_thread_renews_it_with_the_claims(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    soon = utc_now() + timedelta(seconds=30)
    before = set(threading.enumerate())
    with hold_lease(database, "run-1", "job") as lease, hold_claim(database, "video/a", wait_seconds=0):
        assert [thread.name for thread in set(threading.enumerate()) - before] == ["lease renewer"]
        lease.tell(0, 7, 600.0)
        lease.advance(2)
        set_row(database, "run-1", expires_at=soon)
        wait_until(lambda: lease_of(database, "run-1").expires_at > soon + timedelta(seconds=30))
        row = lease_of(database, "run-1")
        assert (row.num_done, row.num_total) == (2, 7)
        assert row.ends_at is not None
        assert abs(row.ends_at - utc_now() - timedelta(seconds=600)) < timedelta(seconds=60)
        lease.tell(7, 7, None)
        wait_until(lambda: lease_of(database, "run-1").ends_at is None)
        lease.tell(0, 7, 1e300)  # later than any date can be
        wait_until(lambda: lease_of(database, "run-1").ends_at is not None)
        lease.check()


def test_hold_lease__renewed_at_once_when_the_clock_is_set(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold_lease(database, "run-1", "job"):
        set_row(database, "run-1", expires_at=ago(hours=1))
        drift = renewal._drift()
        monkeypatch.setattr(renewal, "_drift", lambda: drift + 3600)
        wait_until(lambda: lease_of(database, "run-1").expires_at > utc_now())


def test_hold_lease__of_a_run_that_was_ended_is_lost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    with hold_lease(database, "run-1", "job") as lease:
        remove_leases(database, ["run-1"])
        wait_until(lambda: lease.is_lost)
        with pytest.raises(RunEndedError, match="this run was cancelled, or was ended"):
            lease.check()


def test_remove_provisional_leases__leaves_that_of_a_process(database: Database) -> None:
    judge_leases(database, {"run-1": "job", "run-2": "job"}, idle_limit=HOUR)
    take_lease(database, "run-1", "job")
    remove_provisional_leases(database, ["run-1", "run-2"])
    assert [lease.run_id for lease in find_leases(database)] == ["run-1"]


def test_take_lease__over_a_provisional_one_and_over_a_dead_one(database: Database) -> None:
    judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)
    assert process_of(lease_of(database, "run-1")) is None
    take_lease(database, "run-1", "job")
    assert process_of(lease_of(database, "run-1")) == this_process()
    set_row(database, "run-1", host="elsewhere", expires_at=ago(seconds=1))
    take_lease(database, "run-1", "job")
    assert process_of(lease_of(database, "run-1")) == this_process()


def test_judge_leases__an_awaited_run_without_one_is_silent_after_90_s(database: Database) -> None:
    assert judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)["run-1"].state is RunState.ALIVE
    row = lease_of(database, "run-1")
    assert row.expires_at - row.started_at == timedelta(seconds=90)
    assert judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)["run-1"].state is RunState.ALIVE
    set_row(database, "run-1", expires_at=ago(seconds=1))
    assert judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)["run-1"].state is RunState.SILENT


def test_judge_leases__another_host_lives_until_its_lease_expires(database: Database) -> None:
    take_lease(database, "run-1", "job")
    set_row(database, "run-1", host="elsewhere", pid=999_999_999)
    assert state_of(database, "run-1") is RunState.ALIVE
    set_row(database, "run-1", expires_at=ago(seconds=1))
    assert state_of(database, "run-1") is RunState.SILENT


def test_judge_leases__process_of_this_host_is_gone_at_once(database: Database) -> None:
    take_lease(database, "run-1", "job")
    set_row(database, "run-1", process_started="1")
    assert state_of(database, "run-1") is RunState.GONE


def test_judge_leases__a_stopped_process_of_this_host_lives_and_becomes_idle_by_90_s_a_lease(
    database: Database,
) -> None:
    # the lease expired two hours ago, because the clock jumped or the machine slept
    take_lease(database, "run-1", "job")
    set_row(database, "run-1", expires_at=ago(hours=2), progress_at=ago(hours=2, seconds=90))
    limit = timedelta(seconds=100)
    assert state_of(database, "run-1", limit) is RunState.ALIVE
    row = lease_of(database, "run-1")
    assert row.expires_at > utc_now() + timedelta(seconds=80)
    idle = row.expires_at - timedelta(seconds=90) - row.progress_at
    assert round(idle.total_seconds()) == 90, "the lease it was given, and not two hours"
    assert state_of(database, "run-1", limit) is RunState.ALIVE
    set_row(database, "run-1", expires_at=row.expires_at - timedelta(seconds=95), progress_at=row.progress_at - HOUR)
    assert state_of(database, "run-1", limit) is RunState.HANGING, "stopped for as long as the limit"


def test_judge_leases__a_clock_set_back_does_not_prolong_a_dead_holder(database: Database) -> None:
    take_lease(database, "run-1", "job")
    set_row(database, "run-1", host="elsewhere", expires_at=utc_now() + HOUR, progress_at=utc_now() + HOUR)
    assert state_of(database, "run-1") is RunState.ALIVE
    assert lease_of(database, "run-1").expires_at < utc_now() + timedelta(seconds=91)


def test_judge_leases__no_progress_is_what_the_holder_measured(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    limit = timedelta(seconds=600)
    with hold_lease(database, "run-1", "job") as lease:
        began = time.monotonic()
        monkeypatch.setattr(leases, "idle_seconds", lambda: time.monotonic() - began + 601)
        wait_until(lambda: state_of(database, "run-1", limit) is RunState.HANGING)
        monkeypatch.setattr(leases, "idle_seconds", renewal.idle_seconds)
        lease.advance()
        wait_until(lambda: state_of(database, "run-1", limit) is RunState.ALIVE)
        assert lease_of(database, "run-1").num_done == 1


def test_seize_lease__not_from_a_process_that_has_shown_itself_since(database: Database) -> None:
    judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)
    set_row(database, "run-1", expires_at=ago(seconds=1))
    judged = judge_leases(database, {"run-1": "job"}, idle_limit=HOUR)["run-1"]
    assert judged.state is RunState.SILENT
    take_lease(database, "run-1", "job")
    assert not seize_lease(database, judged)
    set_row(database, "run-1", host="elsewhere", expires_at=ago(seconds=1))
    judged = judge_leases(database, {}, idle_limit=HOUR)["run-1"]
    assert seize_lease(database, judged)
    assert not seize_lease(database, judged)
    assert find_leases(database) == []
