import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from data_miner_dagster.catalog import renewal
from data_miner_dagster.catalog.claims import (
    check_claim,
    hold_claim,
    live_claims,
    release_claim,
    renew_claims,
    revoke_claims,
    try_claim,
)
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.renewal import LEASE_SECONDS, held_clock
from data_miner_dagster.catalog.schema import ClaimRow, utc_now
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ClaimHeldError, ClaimLostError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.waiting import wait_until

pytestmark = pytest.mark.slow(15)

WORKER = [sys.executable, "-m", "data_miner_dagster_tests.catalog.competing_worker"]


def set_row(database: Database, resource: str, **values: object) -> None:
    with database.transaction() as session:
        session.execute(update(ClaimRow).where(ClaimRow.resource == resource).values(**values))


def resources(database: Database) -> list[str]:
    return [row.resource for row in live_claims(database)]


def test_live_claims__none(database: Database) -> None:
    assert live_claims(database) == []


def test_try_claim__second_taker_gets_none_until_it_is_released(database: Database) -> None:
    first = try_claim(database, "video/a", run_id="run-1")
    assert first is not None
    assert try_claim(database, "video/a") is None
    assert try_claim(database, "video/b") is not None
    assert [(row.resource, row.pid, row.run_id) for row in live_claims(database)] == [
        ("video/a", os.getpid(), "run-1"),
        ("video/b", os.getpid(), None),
    ]
    release_claim(database, first)
    assert try_claim(database, "video/a") is not None


def test_try_claim__live_worker_on_another_host_keeps_it(database: Database) -> None:
    assert try_claim(database, "video/a") is not None
    set_row(database, "video/a", host="elsewhere", pid=999_999_999)
    assert try_claim(database, "video/a") is None


def test_try_claim__expired_lease_of_another_host_is_taken(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "data_miner_dagster")
    old = try_claim(database, "video/a")
    assert old is not None
    set_row(database, "video/a", host="elsewhere|boot|pid:[1]", expires_at=utc_now() - timedelta(seconds=1))
    new = try_claim(database, "video/a")
    assert new is not None
    assert " on elsewhere, which has ended" in caplog.text
    release_claim(database, old)  # too late: this must not release the new holder's claim
    assert resources(database) == ["video/a"]
    assert renew_claims(database, [old.token, new.token]) == {new.token}


def test_try_claim__reused_pid_is_not_the_old_process(database: Database) -> None:
    assert try_claim(database, "video/a") is not None
    set_row(database, "video/a", process_started="1")
    assert try_claim(database, "video/a") is not None


def test_hold_claim__released_when_the_block_raises(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), hold_claim(database, "video/a", wait_seconds=0):
        raise ZeroDivisionError
    assert resources(database) == []


def test_hold_claim__busy_raises_after_the_wait_and_tells_once(database: Database) -> None:
    told: list[str] = []
    with hold_claim(database, "video/a", wait_seconds=0):
        started = time.monotonic()
        with (
            pytest.raises(ClaimHeldError, match="video/a is in use by another process"),
            hold_claim(database, "video/a", wait_seconds=0.3, on_wait=told.append),
        ):
            raise AssertionError("entered")
        assert time.monotonic() - started >= 0.3
    assert told == ["video/a is in use by another process; waiting until it is free"]


def test_hold_claim__waiter_enters_when_the_holder_leaves(database: Database) -> None:
    order: list[str] = []
    is_held = threading.Event()

    def hold_a_while() -> None:
        with hold_claim(database, "video/a", wait_seconds=0):
            is_held.set()
            time.sleep(0.2)
            order.append("first")

    holder = threading.Thread(target=hold_a_while)
    holder.start()
    assert is_held.wait(60)
    with hold_claim(database, "video/a", wait_seconds=30):
        order.append("second")
    holder.join()
    assert order == ["first", "second"]


def test_hold_claim__renewed_while_held_and_through_errors_of_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(renewal, "RENEW_AGAIN_SECONDS", 0.05)
    soon = utc_now() + timedelta(seconds=30)

    def expiry() -> float:
        return (live_claims(database)[0].expires_at - soon).total_seconds()

    with hold_claim(database, "video/a", wait_seconds=0) as claim:
        set_row(database, "video/a", expires_at=soon)
        wait_until(lambda: expiry() > 0)
        with database.transaction() as session:
            session.execute(text("ALTER TABLE claims RENAME TO claims_away"))
        wait_until(lambda: "the claims and leases of this process could not be renewed (" in caplog.text)
        with database.transaction() as session:
            session.execute(text("ALTER TABLE claims_away RENAME TO claims"))
        set_row(database, "video/a", expires_at=soon)
        wait_until(lambda: expiry() > 0)
        assert not claim.is_lost
    assert resources(database) == []


def test_hold_claim__taken_over_is_noticed_and_left_to_the_new_holder(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "RENEW_SECONDS", 0.05)
    with hold_claim(database, "video/a", wait_seconds=0) as claim:
        set_row(database, "video/a", token="another", host="elsewhere")
        wait_until(lambda: claim.is_lost)
    assert resources(database) == ["video/a"]  # the new holder's claim remains


def test_check_claim__asks_the_catalog_only_after_a_pause(database: Database) -> None:
    with hold_claim(database, "video/a", wait_seconds=0) as claim:
        assert not claim.may_have_rival
        set_row(database, "video/a", token="another", host="elsewhere")
        check_claim(database, claim)  # renewed a moment ago, so nobody can have taken it
        claim.renewed_at -= LEASE_SECONDS
        with pytest.raises(ClaimLostError, match="this process lost its claim on video/a"):
            check_claim(database, claim)
    with hold_claim(database, "video/b", wait_seconds=0) as claim:
        claim.renewed_at -= LEASE_SECONDS
        check_claim(database, claim)
        assert held_clock() - claim.renewed_at < 60


def test_revoke_claims__of_a_run_that_goes_on(database: Database) -> None:
    old = try_claim(database, "video/a", run_id="run-1")
    other = try_claim(database, "video/b", run_id="run-2")
    assert old is not None
    assert other is not None
    assert revoke_claims(database, "run-1") == ["video/a"]
    assert renew_claims(database, [old.token, other.token]) == {other.token}
    successor = try_claim(database, "video/a")
    assert successor is not None
    assert successor.may_have_rival, "the process that held it is this one, which lives"


def test_renew_claims__thousands_at_once(database: Database) -> None:
    expires_at = utc_now() + timedelta(seconds=1)
    with database.transaction() as session:
        session.add_all(
            ClaimRow(
                resource=f"video/{number}",
                token=f"{number:032d}",
                host="elsewhere",
                pid=1,
                process_started="1",
                claimed_at=expires_at,
                expires_at=expires_at,
            )
            for number in range(3000)
        )
    tokens = [f"{number:032d}" for number in range(3001)]
    assert renew_claims(database, tokens) == set(tokens[:-1])
    assert len(live_claims(database)) == 3000


def test_hold_claim__one_thread_for_many_claims_and_none_afterwards(database: Database) -> None:
    def renewers() -> int:
        return sum(thread.name == "lease renewer" for thread in threading.enumerate())

    before = renewers()
    with (
        hold_claim(database, "video/a", wait_seconds=0),
        hold_claim(database, "video/b", wait_seconds=0),
        hold_claim(database, "video/c", wait_seconds=0),
    ):
        assert renewers() == before + 1
    wait_until(lambda: renewers() == before)


def test_hold_claim__killed_holder_is_replaced_at_once(database: Database, catalog_url: str) -> None:
    holder = subprocess.Popen([*WORKER, "hold", catalog_url, "video/a"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert try_claim(database, "video/a") is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with hold_claim(database, "video/a", wait_seconds=0):  # granted long before the 90 s lease expires
        pass


def test_hold_claim__competing_processes_win_every_video_exactly_once(database: Database, catalog_url: str) -> None:
    keys = [f"urls-{number:03d}" for number in range(40)]
    for key in keys:
        add_video(database, key)
    workers = [
        subprocess.Popen([*WORKER, "compete", catalog_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    won = Counter[str]()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0
        won.update(output.split())
    assert won == Counter(keys)
    assert {video.status for video in find_videos(database)} == {VideoStatus.DOWNLOADED}
    assert live_claims(database) == []
