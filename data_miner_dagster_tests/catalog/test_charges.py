from data_miner_dagster.catalog.attempts import next_due, num_attempts
from data_miner_dagster.catalog.charges import charge_run
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.gates import begin_probe, close_gate, gate_of
from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.catalog.work_tables import SuspectRow, WorkBatchRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import AT_ONCE, Failure, FailureKind, FailureScope, WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video, last_attempt

EMBEDDING, RELEASING = WorkStage.EMBEDDING, WorkStage.RELEASING
OUTAGE = Failure(FailureKind.STORE, "read-only", FailureScope.STAGE)


def add_batch(database: Database, stage: WorkStage, size: int) -> int:
    with database.transaction() as session:
        batch = WorkBatchRow(stage=stage, size=size, created_at=database.now(session))
        session.add(batch)
        session.flush()
        return batch.id


def test_charge_run__an_outage_closes_the_gate_and_charges_no_item(database: Database) -> None:
    batch = add_batch(database, EMBEDDING, 2)
    with database.transaction() as session:
        charge_run(session, EMBEDDING, OUTAGE, ["a", "b"], batch)
        gate = gate_of(session, EMBEDDING)
        assert gate is not None
        assert (gate.kind, gate.reason) == ("store", "read-only")
        charge_run(session, EMBEDDING, Failure(FailureKind.TAKEN_OVER, "by another"), ["a", "b"], batch)
        assert next_due(session, EMBEDDING, "a") == AT_ONCE
        assert session.get(SuspectRow, (EMBEDDING, "a")) is None


def test_charge_run__what_halving_may_find_makes_suspects_other_faults_are_of_each_item(database: Database) -> None:
    for key in ("a", "b"):
        add_video(database, key, status=VideoStatus.EXTRACTED)
    first, second = add_batch(database, EMBEDDING, 2), add_batch(database, EMBEDDING, 2)
    with database.transaction() as session:
        charge_run(session, EMBEDDING, Failure(FailureKind.FAILED, "odd", FailureScope.BATCH), ["a", "b"], first)
        suspect = session.get_one(SuspectRow, (EMBEDDING, "a"))
        assert (suspect.size, suspect.num_deaths) == (1, 1)
        assert num_attempts(session, EMBEDDING, "a") == 0
        bug = Failure(FailureKind.SYSTEMATIC_FAULT, "bug", FailureScope.BATCH)
        charge_run(session, EMBEDDING, bug, ["a", "b"], second)
        assert num_attempts(session, EMBEDDING, "a") == num_attempts(session, EMBEDDING, "b") == 1
        assert gate_of(session, EMBEDDING) is None


def test_charge_run__of_a_project_waits_for_other_inputs_if_only_they_can_help(database: Database) -> None:
    add_project(database, "p")
    update_project(database, "p", building_basis="basis")
    with database.transaction() as session:
        charge_run(session, RELEASING, Failure(FailureKind.NOTHING_TO_RELEASE, "empty"), ["p"])
        assert next_due(session, RELEASING, "p", "basis") is None
        assert next_due(session, RELEASING, "p", "other") == AT_ONCE
        charge_run(session, RELEASING, Failure(FailureKind.SETTINGS, "no list of words", basis="other"), ["p"])
        due = next_due(session, RELEASING, "p", "other")
        assert due is not None
        assert due > database.now(session)


def test_charge_run__a_probe_whose_item_fails_by_itself_has_shown_that_the_stage_works(database: Database) -> None:
    batch = add_batch(database, RELEASING, 1)
    with database.transaction() as session:
        close_gate(session, RELEASING, OUTAGE.kind, OUTAGE.message)
        begin_probe(session, RELEASING, batch)
        charge_run(session, RELEASING, Failure(FailureKind.NOTHING_TO_RELEASE, "empty"), ["p"], batch)
        assert gate_of(session, RELEASING) is None
        attempt = last_attempt(session, RELEASING, "p")
        assert attempt is not None
        assert attempt.kind == "nothing_to_release"


def test_charge_run__a_probe_that_did_something_before_the_next_outage_opens_and_closes(database: Database) -> None:
    batch = add_batch(database, EMBEDDING, 2)
    with database.transaction() as session:
        for _ in range(3):
            close_gate(session, EMBEDDING, OUTAGE.kind, OUTAGE.message)
        begin_probe(session, EMBEDDING, batch)
        charge_run(session, EMBEDDING, OUTAGE, ["b"], batch)
        gate = gate_of(session, EMBEDDING)
        assert gate is not None
        assert (gate.num_trips, gate.probe_batch) == (1, None)
