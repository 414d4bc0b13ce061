"""Concurrent writers neither fail nor lose anything, on either database."""

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import delete, select, update

from data_miner_dagster.catalog import claims, upkeep
from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.claims import is_claim_live, renew_claims, try_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.deaths import charge_death
from data_miner_dagster.catalog.forgotten import remember_forgotten
from data_miner_dagster.catalog.leases import find_leases, judge_leases, process_of, take_lease
from data_miner_dagster.catalog.listings import ListingResult, record_listings
from data_miner_dagster.catalog.members import add_candidates, find_members, take_out
from data_miner_dagster.catalog.pending import refresh_bases
from data_miner_dagster.catalog.politeness import admit_download, close_gate, num_trips
from data_miner_dagster.catalog.prescreening import PictureScore, save_score
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.room import record_frames_removed
from data_miner_dagster.catalog.schema import ClaimRow, ProjectVideoRow, ReleaseRow, VideoRow, utc_now
from data_miner_dagster.catalog.site_events import declare_event, note_refusal, note_served, take_probe
from data_miner_dagster.catalog.splits import add_generations, add_splits, read_splits
from data_miner_dagster.catalog.transitions import move_project_video, move_project_videos, move_video
from data_miner_dagster.catalog.upkeep import record_internal_error, reset_orphans
from data_miner_dagster.catalog.videos import delete_videos, find_video, find_videos
from data_miner_dagster.catalog.work_tables import SuspectRow, WorkBatchRow
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster_tests.support.catalog import FOUND_AT, add_project, add_video
from data_miner_dagster_tests.support.together import another_thread, run_together

pytestmark = pytest.mark.slow(20)

LATER = datetime(2027, 1, 1, tzinfo=UTC)
ROUNDS = 5


def listed(key: str) -> tuple[VideoCandidate, None]:
    return VideoCandidate(key, f"https://example.org/{key}", "urls", "q", 0, FOUND_AT), None


def add(database: Database, project: str, *keys: str) -> list[bool]:
    with database.transaction() as session:
        return add_candidates(session, project, [listed(key) for key in keys])


def test_add_candidates__two_projects_list_the_same_new_videos(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    for number in range(ROUNDS):
        keys = [f"urls-{number}-{place:03d}" for place in range(300)]
        run_together(
            partial(add, database, "bikes", *keys),
            partial(add, database, "trams", *reversed(keys)),
        )
    for project in ("bikes", "trams"):
        assert len(find_members(database, project)) == 300 * ROUNDS
    assert len(find_videos(database)) == 300 * ROUNDS


def _with_session(write: Callable[..., object]) -> Callable[[Database], object]:
    def within(database: Database) -> object:
        with database.transaction() as session:
            return write(session)

    return within


FIRST_ROWS: dict[str, Callable[[Database], object]] = {
    "save_snapshot": lambda database: save_snapshot(database, "new", {}, "hash", None),
    "save_score": lambda database: save_score(database, "bikes", "urls-a", PictureScore(0.5, "a bike", 1), "f"),
    "remember_forgotten": lambda database: remember_forgotten(database, ["video:b", "video:a"], "on request"),
    "add_splits": _with_session(lambda session: add_splits(session, "bikes", "train=1.0", {"urls-a": "train"})),
    "add_generations": _with_session(lambda session: add_generations(session, "bikes", {"urls-a": 1})),
    "record_listings": _with_session(
        lambda session: record_listings(session, "bikes", [ListingResult("urls", "q", 1, None, None)])
    ),
    "add_release": _with_session(
        lambda session: add_release(
            session, ReleaseRow(project_name="bikes", version="v001", fingerprint="f", num_images=1, num_boxes=1)
        )
    ),
    "admit_download": lambda database: admit_download(
        database, "site", hourly_budget=None, daily_budget=None, spacing_seconds=0
    ),
    "close_gate": lambda database: close_gate(database, "site", LATER, "refused"),
    "note_refusal": lambda database: note_refusal(
        database, "site", "urls-a", may_count=True, since=FOUND_AT, begun_at=FOUND_AT
    ),
    "note_served": lambda database: note_served(database, "site", "urls-a", FOUND_AT),
    "declare_event": lambda database: declare_event(database, "site", LATER, "refused", since=FOUND_AT, kinds=[]),
    "refresh_bases": lambda database: refresh_bases(database, {WorkStage.EMBEDDING: "e" * 32}),
    "judge_leases": lambda database: judge_leases(database, {"run-1": "job"}, idle_limit=timedelta(hours=1)),
    "take_lease": lambda database: take_lease(database, "run-1", "job"),
    "take_probe": lambda database: take_probe(database, "site", "urls-a"),
}
"""The functions that create a row which another writer may create at the same time."""


@pytest.mark.parametrize("name", FIRST_ROWS)
def test_first_rows__three_writers_at_once(database: Database, name: str) -> None:
    add_project(database, "bikes")
    run_together(*[partial(FIRST_ROWS[name], database)] * 3)


def test_take_lease__while_somebody_waits_for_the_run(database: Database) -> None:
    for number in range(ROUNDS):
        run_id = f"run-{number}"
        run_together(
            partial(judge_leases, database, {run_id: "job"}, idle_limit=timedelta(hours=1)),
            partial(take_lease, database, run_id, "job", "bikes"),
        )
    leases = find_leases(database)
    assert {(lease.run_id, lease.project) for lease in leases} == {(f"run-{n}", "bikes") for n in range(ROUNDS)}
    assert all(process_of(lease) is not None for lease in leases)


def test_close_gate__answers_of_one_trip_count_once(database: Database) -> None:
    run_together(*[partial(close_gate, database, "site", LATER, "refused")] * 4)
    assert num_trips(database, "site") == 1


def test_admit_download__of_many_at_once_no_more_than_the_budget_begin(database: Database) -> None:
    ask = partial(admit_download, database, "site", hourly_budget=3, daily_budget=None, spacing_seconds=0)
    admitted = run_together(*[ask] * 6)
    assert sum(getattr(admission, "start_at") is not None for admission in admitted) == 3  # noqa: B009


def test_add_splits__what_another_has_written_stays(database: Database) -> None:
    with another_thread() as begin:
        with database.transaction() as session:
            add_splits(session, "bikes", "train=1.0", {"urls-a": "train"})
            second = begin(
                lambda: _with_session(lambda s: add_splits(s, "bikes", "train=1.0", {"urls-a": "val"}))(database)
            )
        second.result()
    assert read_splits(database, "bikes", "train=1.0") == {"urls-a": "train"}


def test_add_candidates__a_listing_does_not_take_back_what_a_person_is_taking_out(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", member_status=ProjectVideoStatus.REJECTED, reason="duration: too long")
    with another_thread() as begin:
        with database.transaction() as session:
            by_hand = {"status": ProjectVideoStatus.REJECTED, "reason": "by_hand: removed from the project"}
            session.execute(update(ProjectVideoRow).values(by_hand))
            listing = begin(partial(add, database, "bikes", "urls-a"))  # the rules accept the video now
        listing.result()
    (member,) = find_members(database, "bikes")
    assert member.status is ProjectVideoStatus.REJECTED


def test_add_candidates__a_video_that_is_being_deleted_is_added_anew(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", title="old")
    with another_thread() as begin:
        with database.transaction() as session:
            session.execute(delete(VideoRow))
            listing = begin(partial(add, database, "bikes", "urls-a"))
        listing.result()
    (video,) = find_videos(database, project="bikes")
    assert video.title is None


def test_delete_videos__not_one_that_a_project_has_just_begun_to_want(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a")
    with another_thread() as begin:
        with database.transaction() as session:
            add_candidates(session, "bikes", [listed("urls-a")])
            deletion = begin(partial(delete_videos, database, ["urls-a"]))
        assert deletion.result() == []
    assert len(find_videos(database, project="bikes")) == 1


def test_add_candidates__not_what_is_being_forgotten(database: Database) -> None:
    add_project(database, "bikes")
    subjects = [forgotten_subject("video", "urls-a")]
    with another_thread() as begin:
        with database.transaction() as session:
            add_candidates(session, "bikes", [listed("urls-b")])  # another portion of the same listing
            forgetting = begin(partial(remember_forgotten, database, subjects, "on request"))
        forgetting.result()
    assert add(database, "bikes", "urls-a", "urls-c") == [False, True]
    assert [member.video_key for member in find_members(database, "bikes")] == ["urls-b", "urls-c"]


def test_take_out__while_a_download_rejects_the_same_member(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.DOWNLOADING)
    with another_thread() as begin:
        with database.transaction() as session:
            move_video(session, "urls-a", VideoStatus.PENDING)
            taken = begin(partial(take_out, database, "bikes", ["urls-a"]))
            session.execute(
                update(ProjectVideoRow).values(status=ProjectVideoStatus.REJECTED, reason="duration: too long")
            )
        assert taken.result() == []
    (member,) = find_members(database, "bikes")
    assert member.reason == "by_hand: removed from the project"


def test_record_frames_removed__not_of_a_video_that_a_project_begins_to_want(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", status=VideoStatus.EXTRACTED)
    with another_thread() as begin:
        with database.transaction() as session:
            add_candidates(session, "bikes", [listed("urls-a")])
            removal = begin(partial(_with_session(lambda session: record_frames_removed(session, "urls-a")), database))
        assert removal.result() is False
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.status is VideoStatus.EXTRACTED


def test_charge_death__while_the_worker_that_was_given_up_ends(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", status=VideoStatus.DOWNLOADED)
    with database.transaction() as session:
        session.add(WorkBatchRow(id=1, stage=WorkStage.EXTRACTION, created_at=FOUND_AT, size=1))
        session.add(SuspectRow(stage=WorkStage.EXTRACTION, item="urls-a", batch_id=1, size=1, num_deaths=1))
    charge = _with_session(lambda session: charge_death(session, 1, ["urls-a"]))
    with another_thread() as begin:
        with database.transaction() as session:
            move_video(session, "urls-a", VideoStatus.EXTRACTING)
            charged = begin(partial(charge, database))
            clear_attempts(session, WorkStage.EXTRACTION, ["urls-a"])
        charged.result()


def test_move_project_videos__while_a_download_rejects_one(database: Database) -> None:
    add_project(database, "bikes")
    filtered = ProjectVideoStatus.FILTERED
    add_video(database, "urls-a", "bikes", status=VideoStatus.DOWNLOADING, member_status=filtered)
    put_back = _with_session(
        lambda session: move_project_videos(session, "bikes", ProjectVideoStatus.PENDING, {"urls-a": (None, None)})
    )
    with another_thread() as begin:
        with database.transaction() as session:
            assert move_video(session, "urls-a", VideoStatus.DOWNLOADED)
            putting_back = begin(partial(put_back, database))
            assert move_project_video(session, "bikes", "urls-a", ProjectVideoStatus.REJECTED, reason="licence: none")
        putting_back.result()


def _begin_download(database: Database) -> None:
    assert try_claim(database, "video/urls-a") is not None
    with database.transaction() as session:
        assert move_video(session, "urls-a", VideoStatus.DOWNLOADING)


def test_record_internal_error__a_worker_that_begins_meanwhile_keeps_its_video(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_video(database, "urls-a")
    begun: list[Future[object]] = []
    with another_thread() as begin:

        def move_after_a_worker_has_begun(*arguments: object, **named: object) -> bool:
            if not begun:
                begun.append(begin(partial(_begin_download, database)))
            return move_video(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(upkeep, "move_video", move_after_a_worker_has_begun)
        record_internal_error(database, "urls-a", "KeyError", only_from={*VideoStatus}, stage=WorkStage.DOWNLOADING)
        begun[0].result()
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.status is VideoStatus.DOWNLOADING


def test_reset_orphans__not_what_another_worker_has_taken_over_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_video(database, "urls-a", status=VideoStatus.DOWNLOADING)  # its worker is about to end
    begun: list[Future[object]] = []

    def end_download() -> None:
        with database.transaction() as session:
            move_video(session, "urls-a", VideoStatus.FAILED)

    with another_thread() as begin:
        now = database.now

        def now_after_the_end(session: object) -> datetime:
            if not begun:
                begun.append(begin(end_download))
            return now(session)  # type: ignore[arg-type]

        def move_after_a_worker_has_begun(*arguments: object, **named: object) -> bool:
            begun.append(begin(partial(_begin_download, database)))
            return move_video(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(database, "now", now_after_the_end)
        monkeypatch.setattr(upkeep, "move_video", move_after_a_worker_has_begun)
        reset_orphans(database)
        for action in begun:
            action.result()
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.status is VideoStatus.DOWNLOADING


def test_try_claim__not_from_a_holder_that_wakes_up_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = try_claim(database, "video/urls-a")
    assert held is not None
    with database.transaction() as session:
        session.execute(update(ClaimRow).values(host="elsewhere", expires_at=utc_now() - timedelta(seconds=1)))
    begun: list[Future[object]] = []
    with another_thread() as begin:

        def look_while_it_is_renewed(claim: ClaimRow, now: datetime) -> bool:
            is_live = is_claim_live(claim, now)
            begun.append(begin(partial(renew_claims, database, [held.token])))
            return is_live

        monkeypatch.setattr(claims, "is_claim_live", look_while_it_is_renewed)
        taken = try_claim(database, "video/urls-a")
        kept = begun[0].result()
    assert (taken is not None, kept == {held.token}) in {(True, False), (False, True)}
    with database.reading() as session:
        assert session.scalar(select(ClaimRow.token)) == (held if taken is None else taken).token
