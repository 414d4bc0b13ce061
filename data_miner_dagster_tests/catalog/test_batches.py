from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from data_miner_dagster.catalog.batches import (
    Batch,
    end_batch,
    items_of,
    open_batches,
    set_run,
    take_batch,
    take_project_batch,
)
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.work_tables import StageGateRow, SuspectRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video

DOWNLOADING, EXTRACTION, EMBEDDING = WorkStage.DOWNLOADING, WorkStage.EXTRACTION, WorkStage.EMBEDDING
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def add_videos(database: Database, project: str, number: int, **columns: Any) -> list[str]:
    """Add a project with `number` videos and return their keys."""
    add_project(database, project)
    keys = [f"{project}-{index:03}" for index in range(number)]
    for key in keys:
        add_video(database, key, project, **columns)
    return keys


def taken(batch: Batch | None) -> list[str]:
    assert batch is not None
    return sorted(batch.items)


def test_take_batch__nothing_to_do(database: Database) -> None:
    add_project(database, "bikes")
    assert take_batch(database, DOWNLOADING) is None
    assert open_batches(database) == []


def test_take_batch__no_video_twice_until_its_batch_ends(database: Database) -> None:
    keys = add_videos(database, "bikes", 5)
    first = take_batch(database, DOWNLOADING, max_items=3)
    second = take_batch(database, DOWNLOADING, max_items=3)
    assert first is not None
    assert second is not None
    assert (len(first.items), len(second.items)) == (3, 2)
    assert sorted(first.items + second.items) == keys
    assert take_batch(database, DOWNLOADING) is None
    assert take_batch(database, EXTRACTION) is None
    set_run(database, second.id, "run-2")
    batches = open_batches(database)
    assert [(batch.id, batch.size, batch.run_id) for batch in batches] == [(first.id, 3, None), (second.id, 2, "run-2")]
    assert abs(utc_now() - batches[0].created_at) < timedelta(minutes=5)
    assert items_of(database, second.id) == sorted(second.items)
    with database.transaction() as session:
        move_video(session, second.items[0], VideoStatus.FAILED)
    assert end_batch(database, second.id, "failed") == second.items[1:]
    assert end_batch(database, second.id, "again", died=True) == ()  # already ended, so no item is suspected
    assert taken(take_batch(database, DOWNLOADING)) == list(second.items[1:])
    assert items_of(database, second.id) == []


def test_take_batch__projects_take_turns(database: Database) -> None:
    add_videos(database, "large", 40)
    add_videos(database, "small", 7)
    shares = []
    for _ in range(4):
        items = taken(take_batch(database, DOWNLOADING, max_items=5))
        shares.append(sum(key.startswith("small") for key in items))
    assert shares[:2] in ([2, 3], [3, 2], [2, 2])
    assert sum(shares) == 7  # a small project takes no more than twice as long as it would alone
    assert len(taken(take_batch(database, DOWNLOADING, max_items=20))) == 20


def test_take_batch__who_was_served_longest_ago_comes_first(database: Database) -> None:
    for project in ("boats", "cars", "trams"):
        add_videos(database, project, 3)
    order = [taken(take_batch(database, DOWNLOADING, max_items=1))[0].partition("-")[0] for _ in range(6)]
    assert order == ["boats", "cars", "trams", "boats", "cars", "trams"]
    assert taken(take_batch(database, DOWNLOADING, max_items=2)) == ["boats-002", "cars-002"]
    assert take_batch(database, DOWNLOADING, project="cars") is None
    assert taken(take_batch(database, DOWNLOADING, project="trams")) == ["trams-002"]


def test_take_batch__a_video_of_two_projects_is_taken_once(database: Database) -> None:
    add_project(database, "trams")
    keys = add_videos(database, "bikes", 2)
    add_video(database, keys[0], "trams")
    assert taken(take_batch(database, DOWNLOADING)) == keys


def test_take_batch__only_named_videos(database: Database) -> None:
    keys = add_videos(database, "bikes", 4)
    assert taken(take_batch(database, DOWNLOADING, keys=[keys[3], keys[1], "urls-x"])) == [keys[1], keys[3]]
    assert take_batch(database, DOWNLOADING, keys=[keys[3]]) is None


def test_take_batch__long_videos_are_shared_between_runs(database: Database) -> None:
    keys = add_videos(database, "bikes", 5, status=VideoStatus.EXTRACTED, num_frames=2000)
    batches = [take_batch(database, EMBEDDING) for _ in range(4)]
    assert [len(batch.items) for batch in batches if batch is not None] == [2, 2, 1]  # at most 5,000 frames per batch
    assert sorted(key for batch in batches if batch is not None for key in batch.items) == keys
    (longest,) = add_videos(database, "boats", 1, status=VideoStatus.EXTRACTED, num_frames=90_000)
    assert taken(take_batch(database, EMBEDDING)) == [longest]
    named = add_videos(database, "trams", 4, status=VideoStatus.EXTRACTED, num_frames=2000)
    assert taken(take_batch(database, EMBEDDING, keys=named)) == named


def test_take_batch__is_full_or_old_or_nothing_else_comes(database: Database) -> None:
    loaded = add_videos(database, "bikes", 3, status=VideoStatus.DOWNLOADED)
    add_video(database, "urls-a", "bikes")
    now = utc_now()
    assert take_batch(database, EXTRACTION, max_items=4, now=now) is None
    assert len(taken(take_batch(database, EXTRACTION, max_items=2, now=now))) == 2
    assert take_batch(database, EXTRACTION, now=now + timedelta(seconds=50)) is None
    assert len(taken(take_batch(database, EXTRACTION, now=now + timedelta(seconds=61)))) == 1
    for batch in open_batches(database):
        end_batch(database, batch.id, "cut off")
    assert take_batch(database, EXTRACTION, max_items=4, now=now) is None
    assert taken(take_batch(database, EXTRACTION, now=now, must_be_full_until_seconds=0)) == loaded
    for batch in open_batches(database):
        end_batch(database, batch.id, "cut off")
    download = take_batch(database, DOWNLOADING)
    assert download is not None
    assert take_batch(database, EXTRACTION, now=now) is None  # the video is still in a download batch
    with database.transaction() as session:
        move_video(session, "urls-a", VideoStatus.FAILED)
    assert taken(take_batch(database, EXTRACTION, now=now)) == loaded


def test_take_batch__downloads_wait_for_the_listing_of_their_project(database: Database) -> None:
    add_project(database, "bikes", is_sourced=False)
    add_video(database, "urls-a", "bikes")
    assert take_batch(database, DOWNLOADING) is None
    assert taken(take_batch(database, DOWNLOADING, max_items=1)) == ["urls-a"]


def test_take_batch__not_what_is_due_later(database: Database) -> None:
    add_videos(database, "bikes", 1, retry_after=utc_now() + timedelta(hours=1))
    assert take_batch(database, DOWNLOADING) is None
    in_two_hours = utc_now() + timedelta(hours=2)
    assert taken(take_batch(database, DOWNLOADING, now=in_two_hours)) == ["bikes-000"]


def test_take_batch__not_what_is_held(database: Database) -> None:
    add_videos(database, "bikes", 2)
    add_videos(database, "trams", 2)
    hold_items(database, project="trams", reason="paused")
    hold_items(database, video_keys=["bikes-000"], reason="cancelled")
    assert taken(take_batch(database, DOWNLOADING)) == ["bikes-001"]
    assert take_project_batch(database, WorkStage.FILTERING, "trams") is None
    hold_items(database, stage=DOWNLOADING, reason="paused")
    add_videos(database, "boats", 1)
    assert take_batch(database, DOWNLOADING) is None


def test_take_batch__a_closed_stage_is_probed_once(database: Database) -> None:
    add_videos(database, "bikes", 3)
    now = utc_now()
    with database.transaction() as session:
        session.add(
            StageGateRow(
                stage=DOWNLOADING,
                closed_at=LONG_AGO,
                closed_until=now + timedelta(minutes=1),
                kind="disk_full",
                reason="full",
            )
        )
    assert take_batch(database, DOWNLOADING, now=now) is None
    later = now + timedelta(minutes=2)
    probe = take_batch(database, DOWNLOADING, max_items=1, now=later)
    assert probe is not None
    assert take_batch(database, DOWNLOADING, max_items=1, now=later) is None
    with database.reading() as session:
        assert session.get_one(StageGateRow, DOWNLOADING).probe_batch == probe.id
    end_batch(database, probe.id, "unknown to Dagster")
    assert taken(take_batch(database, DOWNLOADING, max_items=1, now=later)) == list(probe.items)


def test_end_batch__a_death_is_halved_until_one_is_left(database: Database) -> None:
    add_videos(database, "bikes", 9)
    first = take_batch(database, DOWNLOADING, max_items=8)
    assert first is not None
    with database.transaction() as session:
        move_video(session, first.items[0], VideoStatus.FAILED)
    assert set(end_batch(database, first.id, "killed", died=True)) == set(first.items[1:])
    second = take_batch(database, DOWNLOADING)
    assert second is not None
    assert len(second.items) == 3  # some of the 7 suspects, but not the video that was in no batch
    assert set(second.items) < set(first.items[1:])
    end_batch(database, second.id, "killed", died=True)
    alone = take_batch(database, DOWNLOADING)
    rest = take_batch(database, DOWNLOADING)
    assert alone is not None
    assert rest is not None
    assert len(alone.items) == 1
    assert set(alone.items) < set(second.items)
    assert set(rest.items) < set(second.items)
    with database.transaction() as session:
        move_video(session, alone.items[0], VideoStatus.DOWNLOADING)
        move_video(session, alone.items[0], VideoStatus.DOWNLOADED)
    assert end_batch(database, alone.id, "done") == ()
    with database.reading() as session:
        assert {row.item for row in session.scalars(select(SuspectRow))} == set(first.items[1:]) - set(alone.items)


def test_take_project_batch__one_at_a_time(database: Database) -> None:
    add_project(database, "bikes")
    batch = take_project_batch(database, WorkStage.FILTERING, "bikes")
    assert batch is not None
    assert (batch.stage, batch.items) == (WorkStage.FILTERING, ("bikes",))
    assert take_project_batch(database, WorkStage.FILTERING, "bikes") is None
    assert end_batch(database, batch.id, "killed", died=True) == ("bikes",)
    again = take_project_batch(database, WorkStage.FILTERING, "bikes")
    assert again is not None
    assert again.id > batch.id


@pytest.mark.parametrize("num_takers", [4])
def test_take_batch__several_takers_at_once(database: Database, num_takers: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    keys = add_videos(database, "bikes", 30)

    def take_all(_taker: int) -> list[str]:
        mine: list[str] = []
        while (batch := take_batch(database, DOWNLOADING, max_items=3)) is not None:
            mine += batch.items
        return mine

    with ThreadPoolExecutor(num_takers) as pool:
        found = [key for mine in pool.map(take_all, range(num_takers)) for key in mine]
    assert sorted(found) == keys
