from datetime import date

import pytest
from sqlalchemy.exc import IntegrityError

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import (
    add_candidates,
    delete_faulty_entries,
    find_members,
    member_statuses,
    projects_wanting,
)
from data_miner_dagster.catalog.videos import (
    find_videos,
)
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster_tests.support.catalog import FOUND_AT, add_project, add_video


def candidate(key: str, **columns: object) -> VideoCandidate:
    return VideoCandidate(key, f"https://example.org/{key}", "urls", "q", 0, FOUND_AT, **columns)  # type: ignore[arg-type]


def test_find_members__empty(database: Database) -> None:
    assert find_members(database, "bikes") == []
    assert projects_wanting(database, []) == {}


def test_add_candidates__first_provenance_stays_and_rejection_may_change(database: Database) -> None:
    add_project(database, "bikes")

    def add(rejected_because: str | None, **columns: object) -> bool:
        with database.transaction() as session:
            (is_new,) = add_candidates(session, "bikes", [(candidate("urls-a", **columns), rejected_because)])
        return is_new

    assert add("duration: too long", title="A ride", upload_date=date(2026, 1, 2))
    assert [(m.status, m.reason) for m in find_members(database, "bikes")] == [
        (ProjectVideoStatus.REJECTED, "duration: too long")
    ]
    assert find_videos(database, project="bikes") == []
    assert not add(None)
    assert [(m.status, m.reason, m.found_at) for m in find_members(database, "bikes")] == [
        (ProjectVideoStatus.PENDING, None, FOUND_AT)
    ]
    assert [(v.key, v.title, v.upload_date) for v in find_videos(database, project="bikes")] == [
        ("urls-a", "A ride", date(2026, 1, 2))
    ]


def test_add_candidates__project_must_exist(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        add_candidates(session, "nowhere", [(candidate("urls-a"), None)])
    assert find_videos(database) == []


def test_member_statuses__of_one_project(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    add_video(database, "urls-b", "bikes", member_status=ProjectVideoStatus.REJECTED)
    with database.reading() as session:
        assert member_statuses(session, "bikes") == {
            "urls-a": ProjectVideoStatus.PENDING,
            "urls-b": ProjectVideoStatus.REJECTED,
        }
        assert member_statuses(session, "nowhere") == {}


def test_delete_faulty_entries__those_that_their_listing_no_longer_holds(database: Database) -> None:
    add_project(database, "bikes")
    fault, rejected = "internal_error: KeyError: 'x' (a.py:1)", ProjectVideoStatus.REJECTED
    for key, reason in (("urls-mended", fault), ("urls-still", fault), ("urls-live", "live: is live")):
        add_video(database, key, "bikes", member_status=rejected, reason=reason)
    delete_faulty_entries(database, "bikes", {("urls", "another")}, set())
    assert len(find_members(database, "bikes")) == 3
    delete_faulty_entries(database, "bikes", {("urls", "q")}, {"urls-still"})
    assert [member.video_key for member in find_members(database, "bikes")] == ["urls-live", "urls-still"]
