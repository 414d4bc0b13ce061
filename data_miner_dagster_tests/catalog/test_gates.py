from datetime import datetime, timedelta

import pytest

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.gates import begin_probe, close_gate, closed_stages, gate_of, may_probe, open_gate
from data_miner_dagster.catalog.work_tables import WorkBatchRow
from data_miner_dagster.domain.work import FailureKind, WorkStage

EMBEDDING = WorkStage.EMBEDDING


def add_batch(database: Database, stage: WorkStage = EMBEDDING, size: int = 25, *, ended: bool = False) -> int:
    with database.transaction() as session:
        now = database.now(session)
        batch = WorkBatchRow(stage=stage, size=size, created_at=now, ended_at=now if ended else None)
        session.add(batch)
        session.flush()
        return batch.id


def age(database: Database, seconds: float) -> None:
    """Move the times of the gate this many seconds into the past."""
    with database.transaction() as session:
        gate = gate_of(session, EMBEDDING)
        assert gate is not None
        gate.closed_at -= timedelta(seconds=seconds)
        gate.closed_until -= timedelta(seconds=seconds)


def close(database: Database, batch_id: int | None = None, reason: str = "gone") -> tuple[int, int]:
    """Close the gate; return its number of trips and the seconds until the next probe, rounded to tens."""
    with database.transaction() as session:
        gate = close_gate(session, EMBEDDING, FailureKind.MODEL, reason, batch_id)
        seconds = (gate.closed_until - database.now(session)).total_seconds()
        return gate.num_trips, round(seconds, -1).__int__()


def probing(database: Database, at: datetime | None = None) -> bool:
    with database.transaction() as session:
        return may_probe(session, EMBEDDING, at or database.now(session))


def test_gate_of__an_open_stage(database: Database) -> None:
    with database.transaction() as session:
        assert gate_of(session, EMBEDDING) is None
        assert closed_stages(session) == []
        assert not open_gate(session, EMBEDDING)
    assert not probing(database)


def test_close_gate__of_one_stage_for_at_least_half_a_minute(database: Database) -> None:
    assert close(database) == (1, 30)
    with database.transaction() as session:
        gate = gate_of(session, EMBEDDING)
        assert gate is not None
        assert (gate.kind, gate.reason) == ("model", "gone")
        assert gate_of(session, WorkStage.EXTRACTION) is None
        assert [closed.stage for closed in closed_stages(session)] == [EMBEDDING]
        assert not may_probe(session, EMBEDDING, gate.closed_until - timedelta(seconds=1))
        assert may_probe(session, EMBEDDING, gate.closed_until)
        assert open_gate(session, EMBEDDING)
        assert gate_of(session, EMBEDDING) is None


@pytest.mark.parametrize(("seconds_so_far", "seconds"), [(60, 30), (600, 75), (10**6, 21600)])
def test_close_gate__again_by_its_probe_for_an_eighth_of_the_time_so_far(
    database: Database, seconds_so_far: int, seconds: int
) -> None:
    close(database)
    age(database, seconds_so_far)
    probe = add_batch(database)
    assert probing(database)
    with database.transaction() as session:
        begin_probe(session, EMBEDDING, probe)
    assert not probing(database)  # one probe at a time
    trips, wait = close(database, probe)
    assert trips == 2
    assert wait == pytest.approx(seconds, abs=10)
    assert not probing(database)


def test_close_gate__batches_that_were_at_work_when_it_closed_prolong_nothing(database: Database) -> None:
    old = add_batch(database)
    assert close(database) == (1, 30)
    assert close(database, old, "gone as well") == (1, 30)
    age(database, 40)
    probe = add_batch(database)
    with database.transaction() as session:
        begin_probe(session, EMBEDDING, probe)
    assert close(database, old)[0] == 1  # not counted as a trip here, either
    assert not probing(database)  # the probe continues
    assert close(database, probe)[0] == 2


def test_may_probe__again_after_a_probe_that_ended_without_a_verdict(database: Database) -> None:
    close(database)
    age(database, 40)
    cancelled = add_batch(database, ended=True)
    with database.transaction() as session:
        begin_probe(session, EMBEDDING, cancelled)
    assert probing(database)
