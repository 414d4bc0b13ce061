from collections.abc import Collection
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete, select

from data_miner_dagster.catalog.attempts import next_due
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.deaths import charge_death, note_progress, suspects_to_try
from data_miner_dagster.catalog.gates import begin_probe, close_gate, gate_of, may_probe
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_video, find_videos, retry_videos
from data_miner_dagster.catalog.work_tables import BatchItemRow, PendingWorkRow, SuspectRow, WorkBatchRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import FailureKind, WorkStage
from data_miner_dagster_tests.support.catalog import add_project, last_attempt

EMBEDDING = WorkStage.EMBEDDING
MOST = 25


class Stage:
    """A stage whose runs die on certain videos, driven on a real catalog as the planner would drive it."""

    def __init__(self, database: Database, num_videos: int, *, deadly: Collection[str] = (), is_dead: bool = False):
        self.database = database
        self.deadly = set(deadly)
        self.is_dead = is_dead
        self.sizes: list[int] = []
        self.done: set[str] = set()
        add_project(database, "p")
        keys = [f"v{number:03}" for number in range(num_videos)]
        with database.transaction() as session:
            session.add_all(VideoRow(key=key, url="u", status=VideoStatus.EXTRACTED) for key in keys)
            session.flush()
            now = database.now(session)
            session.add_all(
                PendingWorkRow(stage=EMBEDDING, project_name="p", video_key=key, due_at=now, since=now) for key in keys
            )

    def run_one(self) -> bool:
        """Take a batch and work on it until it is done or its run dies; return False if there is no batch to take."""
        with self.database.transaction() as session:
            gate = gate_of(session, EMBEDDING)
            if gate is not None and not may_probe(session, EMBEDDING, self.now or database_now(self.database)):
                return False
            suspects = suspects_to_try(session, EMBEDDING)
            fresh = select(PendingWorkRow.video_key).where(
                PendingWorkRow.due_at <= self.database.now(session),
                PendingWorkRow.video_key.not_in(select(SuspectRow.item)),
            )
            others = list(session.scalars(fresh.order_by(PendingWorkRow.video_key).limit(MOST)))
            keys = (others or suspects_to_try(session, EMBEDDING, is_probe=True)) if gate else (suspects or others)
            if not keys:
                return False
            batch = WorkBatchRow(stage=EMBEDDING, size=len(keys), created_at=self.database.now(session))
            session.add(batch)
            session.flush()
            session.add_all(BatchItemRow(stage=EMBEDDING, item=key, batch_id=batch.id) for key in keys)
            if gate is not None:
                begin_probe(session, EMBEDDING, batch.id)
        self.sizes.append(len(keys))
        dies = self.is_dead or bool(self.deadly & set(keys))
        with self.database.transaction() as session:
            if dies:
                charge_death(session, batch.id, keys)
            else:
                note_progress(session, batch.id)
                self.done |= set(keys)
                session.execute(delete(PendingWorkRow).where(PendingWorkRow.video_key.in_(keys)))
                session.execute(delete(SuspectRow).where(SuspectRow.item.in_(keys)))
            session.execute(delete(BatchItemRow))
            for key in keys:  # as catalog/pending.py does for a failed video
                row = session.get(PendingWorkRow, (EMBEDDING, "p", key))
                due = next_due(session, EMBEDDING, key)
                if row is not None and due is not None and due > row.due_at:
                    row.due_at = due
            session.get_one(WorkBatchRow, batch.id).ended_at = self.database.now(session)
        return True

    now: datetime | None = None

    def run_all(self, most: int = 100) -> None:
        while len(self.sizes) < most and self.run_one():
            pass


def database_now(database: Database) -> datetime:
    with database.reading() as session:
        return database.now(session)


@pytest.mark.parametrize(("poison", "num_deaths", "seconds"), [("v000", 5, 480), ("v024", 2, 60)])
def test_charge_death__one_deadly_video_among_100_is_found_in_14_runs(
    database: Database, poison: str, num_deaths: int, seconds: int
) -> None:
    stage, began = Stage(database, 100, deadly=[poison]), database_now(database)
    stage.run_all()
    assert len(stage.done) == 99
    assert len(stage.sizes) <= 14
    row = find_video(database, poison)
    assert row is not None
    assert (row.status, row.error_kind) == (VideoStatus.FAILED, "crashed")
    assert row.error == (
        f"the process died {num_deaths} times during embedding, the last time with no other item in the batch"
    )
    with database.reading() as session:
        attempt = last_attempt(session, EMBEDDING, poison)
        assert attempt is not None
        assert row.retry_after == attempt.due_at
        assert attempt.due_at is not None
        wait = timedelta(seconds=seconds)
        assert began + wait <= attempt.due_at <= database.now(session) + wait
        assert gate_of(session, EMBEDDING) is None
        assert session.scalars(select(SuspectRow.item)).all() == [poison]  # the video is alone in its next batch, too
    assert retry_videos(database) == [poison]
    with database.reading() as session:
        assert session.scalars(select(SuspectRow.item)).all() == []


def test_charge_death__two_deadly_videos_close_no_gate(database: Database) -> None:
    stage = Stage(database, 30, deadly=["v003", "v004"])
    stage.run_all()
    assert len(stage.done) == 28
    with database.reading() as session:
        assert gate_of(session, EMBEDDING) is None


def test_charge_death__where_everything_dies_the_gate_closes_and_few_are_charged(database: Database) -> None:
    stage = Stage(database, 80, is_dead=True)
    stage.run_all()
    assert len(stage.sizes) < 12
    with database.reading() as session:
        gate = gate_of(session, EMBEDDING)
        assert gate is not None
        assert gate.kind == FailureKind.CRASHED
        assert "the runs of 3 items died or failed during embedding, each with a single item" in gate.reason
        stage.now = gate.closed_until
    assert len(find_videos(database, statuses=[VideoStatus.FAILED])) == 3
    num_before = len(stage.sizes)
    assert stage.run_one()
    assert not stage.run_one()  # the gate has closed again until after `now`
    assert stage.sizes[num_before:] == [25]  # videos that are not suspects
    stage.is_dead = False
    with database.transaction() as session:
        again = gate_of(session, EMBEDDING)
        assert again is not None
        assert again.num_trips == 2
        stage.now = again.closed_until
    assert stage.run_one()
    with database.reading() as session:
        assert gate_of(session, EMBEDDING) is None
    stage.now = None
    stage.run_all()
    assert len(stage.done) == 77  # the other three are due later


def test_charge_death__while_the_stage_is_closed_charges_nothing(database: Database) -> None:
    stage = Stage(database, 3)
    with database.transaction() as session:
        close_gate(session, EMBEDDING, FailureKind.STORE, "read-only")
        batch = WorkBatchRow(stage=EMBEDDING, size=1, created_at=database.now(session))
        session.add(batch)
        session.flush()
        charge_death(session, batch.id, ["v000"])
        assert session.scalars(select(SuspectRow)).all() == []
    assert not stage.run_one()


def test_charge_death__of_a_project_is_an_attempt_with_a_date(database: Database) -> None:
    with database.transaction() as session:
        batch = WorkBatchRow(stage=WorkStage.DETECTION, size=1, created_at=database.now(session), run_id="r")
        session.add(batch)
        session.flush()
        charge_death(session, batch.id, ["p"])
        attempt = last_attempt(session, WorkStage.DETECTION, "p")
        assert attempt is not None
        assert (attempt.kind, attempt.scope, attempt.run_id) == ("crashed", "BATCH", "r")
        assert attempt.due_at is not None
        assert 20 < (attempt.due_at - database.now(session)).total_seconds() <= 30


def test_charge_death__only_what_was_undone_is_suspect(database: Database) -> None:
    Stage(database, 10)
    with database.transaction() as session:
        batch = WorkBatchRow(stage=EMBEDDING, size=10, created_at=database.now(session))
        session.add(batch)
        session.flush()
        charge_death(session, batch.id, [f"v{number:03}" for number in range(5, 10)])
        rows = session.scalars(select(SuspectRow).order_by(SuspectRow.item)).all()
        assert [(row.item, row.size, row.num_deaths) for row in rows] == [(f"v{n:03}", 2, 1) for n in range(5, 10)]
        assert suspects_to_try(session, EMBEDDING) == ["v005", "v006"]
        assert suspects_to_try(session, WorkStage.EXTRACTION) == []
