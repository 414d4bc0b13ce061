"""Breaker, budgets and spacing, on every database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from data_miner_dagster.catalog.catalog import Catalog
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
from data_miner_dagster.catalog.schema import utc_now

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def admit(
    catalog: Catalog, now: datetime, *, hourly: int | None = None, daily: int | None = None, spacing: float = 0
) -> Admission:
    return admit_download(
        catalog.database, "site", hourly_budget=hourly, daily_budget=daily, spacing_seconds=spacing, now=now
    )


def test_admit_download__no_limits(catalog: Catalog) -> None:
    assert admit(catalog, NOON).start_at == NOON


def test_admit_download__hourly_budget_frees_a_place_as_the_window_moves(catalog: Catalog) -> None:
    for minute in (0, 10, 20):
        assert admit(catalog, NOON + timedelta(minutes=minute), hourly=3).start_at is not None
    full = admit(catalog, NOON + timedelta(minutes=30), hourly=3)
    assert full.start_at is None
    assert full.wait_until == NOON + timedelta(minutes=60)
    assert "hourly budget of 3" in full.reason
    assert admit(catalog, NOON + timedelta(minutes=60), hourly=3).start_at is not None
    # 12:10, 12:20 and 13:00 are in the window now
    assert admit(catalog, NOON + timedelta(minutes=61), hourly=3).wait_until == NOON + timedelta(minutes=70)


def test_admit_download__a_lowered_budget_waits_for_several_to_leave(catalog: Catalog) -> None:
    for minute in (0, 10, 20):
        admit(catalog, NOON + timedelta(minutes=minute))
    assert admit(catalog, NOON + timedelta(minutes=30), hourly=1).wait_until == NOON + timedelta(minutes=80)


def test_admit_download__daily_budget(catalog: Catalog) -> None:
    assert admit(catalog, NOON, daily=1).start_at is not None
    assert admit(catalog, NOON + timedelta(hours=23), daily=1).wait_until == NOON + timedelta(hours=24)
    assert admit(catalog, NOON + timedelta(hours=24), daily=1).start_at is not None


def test_admit_download__spacing_is_shared(catalog: Catalog) -> None:
    starts = [admit(catalog, NOON, spacing=5).start_at for _ in range(3)]
    assert starts == [NOON, NOON + timedelta(seconds=5), NOON + timedelta(seconds=10)]


def test_admit_download__several_threads_get_exactly_the_budget(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as threads:
        admissions = list(threads.map(lambda _: admit(catalog, NOON, hourly=5), range(20)))
    assert sum(admission.start_at is not None for admission in admissions) == 5


def test_close_gate__stops_its_site_and_star_stops_every_site(catalog: Catalog) -> None:
    later = utc_now() + timedelta(minutes=5)
    close_gate(catalog.database, "site", later, "HTTP 429")
    assert gate_state(catalog.database, "other").closed is None
    gate = gate_state(catalog.database, "site").closed
    assert gate is not None
    assert (gate.until, gate.reason) == (later, "HTTP 429")
    assert admit(catalog, utc_now()).wait_until == later
    close_gate(catalog.database, EVERY_SITE, later, "bot check")
    assert gate_state(catalog.database, "other").closed is not None
    assert [gate.site for gate in closed_gates(catalog.database)] == [EVERY_SITE, "site"]
    assert gate_state(catalog.database, "site", later + timedelta(seconds=1)).closed is None  # goes on by itself


def test_close_gate__never_earlier_and_one_trip_is_one(catalog: Catalog) -> None:
    later = utc_now() + timedelta(minutes=5)
    close_gate(catalog.database, "site", later, "first")
    close_gate(catalog.database, "site", later - timedelta(minutes=1), "second")
    gate = gate_state(catalog.database, "site").closed
    assert gate is not None
    assert gate.until == later
    assert num_trips(catalog.database, "site") == 1


def test_note_success__begins_the_count_anew(catalog: Catalog) -> None:
    assert num_trips(catalog.database, "site") == 0
    for _ in range(2):
        close_gate(catalog.database, "site", utc_now() - timedelta(seconds=1), "over")
    assert num_trips(catalog.database, "site") == 2
    note_success(catalog.database, {"site", EVERY_SITE})
    assert num_trips(catalog.database, "site") == 0
