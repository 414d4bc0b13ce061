"""Breaker, budgets and spacing, on every database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_miner_dagster.catalog import clock
from data_miner_dagster.catalog.clock import SharedClock
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.politeness import (
    EVERY_SITE,
    Admission,
    admit_download,
    close_gate,
    closed_gates,
    gate_state,
    note_success,
    num_trips,
)
from data_miner_dagster.catalog.renewal import held_clock
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.domain.errors import TransientError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def admit(
    database: Database, now: datetime, *, hourly: int | None = None, daily: int | None = None, spacing: float = 0
) -> Admission:
    return admit_download(database, "site", hourly_budget=hourly, daily_budget=daily, spacing_seconds=spacing, now=now)


def test_admit_download__no_limits(database: Database) -> None:
    assert admit(database, NOON).start_at == NOON


def test_admit_download__hourly_budget_frees_a_place_as_the_window_moves(database: Database) -> None:
    for minute in (0, 10, 20):
        assert admit(database, NOON + timedelta(minutes=minute), hourly=3).start_at is not None
    full = admit(database, NOON + timedelta(minutes=30), hourly=3)
    assert full.start_at is None
    assert full.wait_until == NOON + timedelta(minutes=60)
    assert "hourly budget of 3" in full.reason
    assert admit(database, NOON + timedelta(minutes=60), hourly=3).start_at is not None
    # 12:10, 12:20 and 13:00 are in the window now
    assert admit(database, NOON + timedelta(minutes=61), hourly=3).wait_until == NOON + timedelta(minutes=70)


def test_admit_download__a_lowered_budget_waits_for_several_to_leave(database: Database) -> None:
    for minute in (0, 10, 20):
        admit(database, NOON + timedelta(minutes=minute))
    assert admit(database, NOON + timedelta(minutes=30), hourly=1).wait_until == NOON + timedelta(minutes=80)


def test_admit_download__daily_budget(database: Database) -> None:
    assert admit(database, NOON, daily=1).start_at is not None
    assert admit(database, NOON + timedelta(hours=23), daily=1).wait_until == NOON + timedelta(hours=24)
    assert admit(database, NOON + timedelta(hours=24), daily=1).start_at is not None


def test_admit_download__spacing_is_shared(database: Database) -> None:
    starts = [admit(database, NOON, spacing=5).start_at for _ in range(3)]
    assert starts == [NOON, NOON + timedelta(seconds=5), NOON + timedelta(seconds=10)]


def test_admit_download__several_threads_get_exactly_the_budget(database: Database) -> None:
    with ThreadPoolExecutor(8) as threads:
        admissions = list(threads.map(lambda _: admit(database, NOON, hourly=5), range(20)))
    assert sum(admission.start_at is not None for admission in admissions) == 5


def test_close_gate__stops_its_site_and_star_stops_every_site(database: Database) -> None:
    later = utc_now() + timedelta(minutes=5)
    close_gate(database, "site", later, "HTTP 429")
    assert gate_state(database, "other").closed is None
    gate = gate_state(database, "site").closed
    assert gate is not None
    assert (gate.until, gate.reason) == (later, "HTTP 429")
    assert admit(database, utc_now()).wait_until == later
    close_gate(database, EVERY_SITE, later, "bot check")
    assert gate_state(database, "other").closed is not None
    assert [gate.site for gate in closed_gates(database)] == [EVERY_SITE, "site"]
    assert gate_state(database, "site", later + timedelta(seconds=1)).closed is None  # requests resume automatically


def test_close_gate__never_earlier_and_one_trip_is_one(database: Database) -> None:
    later = utc_now() + timedelta(minutes=5)
    close_gate(database, "site", later, "first")
    close_gate(database, "site", later - timedelta(minutes=1), "second")
    gate = gate_state(database, "site").closed
    assert gate is not None
    assert gate.until == later
    assert num_trips(database, "site") == 1


def test_note_success__begins_the_count_anew(database: Database) -> None:
    assert num_trips(database, "site") == 0
    for _ in range(2):
        close_gate(database, "site", utc_now() - timedelta(seconds=1), "over")
    assert num_trips(database, "site") == 2
    note_success(database, {"site", EVERY_SITE})
    assert num_trips(database, "site") == 0


def set_server_clock(monkeypatch: pytest.MonkeyPatch, offset: timedelta) -> None:
    """Make the database's clock differ from this host's by `offset`."""
    monkeypatch.setattr(Database, "now", lambda _database, _session: utc_now() + offset)


@pytest.mark.parametrize("offset", [timedelta(hours=-2), timedelta(hours=2)])
def test_gates_and_budgets__go_by_the_clock_of_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch, offset: timedelta
) -> None:
    set_server_clock(monkeypatch, offset)
    there = utc_now() + offset
    unlimited: Any = {"hourly_budget": None, "daily_budget": None, "spacing_seconds": 0}
    begun = admit_download(database, "site", **unlimited).start_at
    assert begun is not None
    assert abs((begun - there).total_seconds()) < 60
    close_gate(database, "site", there + timedelta(minutes=5), "HTTP 429")
    assert gate_state(database, "site").closed is not None
    assert [gate.site for gate in closed_gates(database)] == ["site"]
    assert admit_download(database, "site", **unlimited).wait_until == there + timedelta(minutes=5)
    note_success(database, {"site"})
    assert num_trips(database, "site") == 1, "still closed"
    set_server_clock(monkeypatch, offset + timedelta(minutes=6))
    assert closed_gates(database) == []
    note_success(database, {"site"})
    assert num_trips(database, "site") == 0


def test_shared_clock__asks_a_server_once_a_minute_and_survives_its_absence(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def there(_database: Database, _session: object) -> datetime:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise TransientError("away")
        return utc_now() + timedelta(hours=2)

    monkeypatch.setattr(Database, "now", there)
    shared = SharedClock(database)
    expected = timedelta(hours=2) if database.is_postgresql else timedelta(0)
    later = 0.0
    monkeypatch.setattr(clock, "held_clock", lambda: held_clock() + later)
    for later in (0.0, 30.0, 61.0):
        difference = shared.now() - utc_now() - expected - timedelta(seconds=later if database.is_postgresql else 0)
        assert abs(difference.total_seconds()) < 10
    assert asked == (2 if database.is_postgresql else 0)
