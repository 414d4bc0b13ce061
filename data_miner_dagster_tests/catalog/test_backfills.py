from datetime import UTC, datetime
from typing import Any

import pytest

from data_miner_dagster.catalog.backfills import FailedVideos, Standing, choose_for_backfill
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.work_tables import AttemptRow, BatchItemRow, PendingWorkRow, WorkBatchRow
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import FailureScope, WorkStage
from data_miner_dagster_tests.support.catalog import add_project, add_video

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOWNLOADING, EXTRACTION, EMBEDDING = WorkStage.DOWNLOADING, WorkStage.EXTRACTION, WorkStage.EMBEDDING


@pytest.fixture
def planted(database: Database) -> Database:
    """Return a catalog with a video of project `a` in each state that backfills tell apart, named after its state."""
    for name in ("a", "b"):
        add_project(database, name)
    status = VideoStatus
    made: dict[str, Any] = {"frames_basis": "f", "embedding_basis": "e"}
    add_video(database, "v-listed", "a", status=status.PENDING)
    add_video(database, "v-withheld", "a", status=status.UNAVAILABLE)
    add_video(database, "v-undownloaded", "a", status=status.FAILED)
    add_video(database, "v-downloaded", "a", status=status.DOWNLOADED, sha256="1")
    add_video(database, "v-undecodable", "a", status=status.FAILED, sha256="2")
    add_video(database, "v-extracted", "a", status=status.EXTRACTED, sha256="3", frames_basis="f")
    add_video(database, "v-unembeddable", "a", status=status.EXTRACTED, sha256="4", frames_basis="f")
    add_video(database, "v-embedded", "a", status=status.EXTRACTED, sha256="5", **made)
    add_video(database, "v-old-frames", "a", status=status.EXTRACTED, sha256="6", **made)
    add_video(
        database, "v-old-vectors", "a", status=status.EXTRACTED, sha256="7", frames_basis="f", embedding_basis="o"
    )
    add_video(database, "v-of-another", "b", status=status.PENDING)
    with database.transaction() as session:
        for stage, key in ((EXTRACTION, "v-old-frames"), (EMBEDDING, "v-old-vectors"), (EMBEDDING, "v-extracted")):
            session.merge(PendingWorkRow(stage=stage, project_name="a", video_key=key, due_at=NOW, since=NOW))
        failed = {"scope": FailureScope.ITEM, "kind": "failed", "message": "why", "version": "1", "failed_at": NOW}
        session.add(AttemptRow(stage=EMBEDDING, item="v-unembeddable", **failed))
    return database


def chosen(database: Database, stage: WorkStage, *standings: Standing) -> list[str]:
    found = choose_for_backfill(database, stage, "a", standings=standings).video_keys
    return [key.removeprefix("v-") for key in found]


def test_choose_for_backfill__nothing_wanted(database: Database) -> None:
    add_project(database, "a")
    choice = choose_for_backfill(database, EXTRACTION, "a", standings=list(Standing))
    assert (choice.video_keys, choice.left_out) == ((), "")


def test_choose_for_backfill__by_standing(planted: Database) -> None:
    missing, failed, stale = Standing.MISSING, Standing.FAILED, Standing.STALE
    assert chosen(planted, DOWNLOADING, missing) == ["listed"]
    assert chosen(planted, DOWNLOADING, failed) == ["undownloaded", "withheld"]
    assert chosen(planted, DOWNLOADING, stale) == []
    assert chosen(planted, EXTRACTION, missing) == ["downloaded"]
    assert chosen(planted, EXTRACTION, failed) == ["undecodable"]
    assert chosen(planted, EXTRACTION, stale) == ["old-frames"]
    assert chosen(planted, EMBEDDING, missing) == ["extracted"]
    assert chosen(planted, EMBEDDING, failed) == ["unembeddable"]
    assert chosen(planted, EMBEDDING, stale) == ["old-vectors"]
    assert chosen(planted, EMBEDDING, missing, stale) == ["extracted", "old-vectors"]


def test_choose_for_backfill__what_is_named_in_its_order(planted: Database) -> None:
    hold_items(planted, stage=EMBEDDING, video_keys=["v-embedded"], reason="why")
    hold_items(planted, project="b", video_keys=["v-extracted"], reason="of another project")
    with planted.transaction() as session:
        session.add(WorkBatchRow(id=1, stage=EMBEDDING, size=1, created_at=NOW))
        session.flush()
        session.add(BatchItemRow(stage=EMBEDDING, item="v-old-vectors", batch_id=1))
    keys = ["v-unembeddable", "v-old-vectors", "v-extracted", "v-embedded", "v-listed", "v-of-another"]
    choice = choose_for_backfill(planted, EMBEDDING, "a", standings=[], video_keys=keys)
    assert (choice.video_keys, choice.num_failed) == (("v-unembeddable", "v-extracted"), 1)
    assert choice.left_out == (
        "1 already in progress, 1 held (`data-miner status` shows how to resume), 1 waiting for an earlier stage"
    )


def test_choose_for_backfill__failed_videos_do_not_wait_for_an_earlier_stage(planted: Database) -> None:
    """One failed download is due later, one is being retried, and two have been given up."""
    add_video(planted, "v-due-later", "a", status=VideoStatus.UNAVAILABLE, retry_after=NOW.replace(year=9999))
    add_video(planted, "v-tried-again", "a", status=VideoStatus.FAILED)
    with planted.transaction() as session:
        session.add(WorkBatchRow(id=1, stage=DOWNLOADING, size=1, created_at=NOW))
        session.flush()
        session.add(BatchItemRow(stage=DOWNLOADING, item="v-tried-again", batch_id=1))
    frames = choose_for_backfill(planted, EXTRACTION, "a", standings=[Standing.MISSING])
    assert frames.failed == (FailedVideos(DOWNLOADING, 3, num_given_up=2), FailedVideos(EXTRACTION, 1, num_given_up=1))
    assert frames.left_out == "3 failed at downloading, 1 failed at extraction, 2 waiting for an earlier stage"
    retried = choose_for_backfill(planted, EXTRACTION, "a", standings=[Standing.FAILED])
    assert [some.stage for some in retried.failed] == [DOWNLOADING]
    embeddings = choose_for_backfill(planted, EMBEDDING, "a", standings=[Standing.MISSING])
    assert embeddings.failed == (*frames.failed, FailedVideos(EMBEDDING, 1, num_given_up=0))
    assert embeddings.num_earlier == 3  # v-listed, v-downloaded and v-tried-again
    named = choose_for_backfill(planted, EMBEDDING, "a", standings=[], video_keys=["v-withheld", "v-unembeddable"])
    assert named.video_keys == ("v-unembeddable",)
    assert named.failed == (FailedVideos(DOWNLOADING, 1, num_given_up=1),)
