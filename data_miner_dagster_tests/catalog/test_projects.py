from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import (
    ProjectProgress,
    delete_project,
    find_project,
    find_projects,
    project_progress,
    save_snapshot,
)
from data_miner_dagster.catalog.releases import add_release, find_releases
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus, VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video


def test_find_project__empty(database: Database) -> None:
    assert find_projects(database) == []
    assert find_project(database, "bikes") is None
    assert project_progress(database) == []
    assert delete_project(database, "bikes") is False


def test_save_snapshot__new_unchanged_changed(database: Database) -> None:
    assert save_snapshot(database, "bikes", {"name": "bikes"}, "one", "/a.yaml")
    assert not save_snapshot(database, "bikes", {"name": "bikes"}, "one", "/a.yaml")
    assert save_snapshot(database, "bikes", {"name": "bikes", "description": "d"}, "two", "/a.yaml")
    row = find_project(database, "bikes")
    assert row is not None
    assert row.config == {"name": "bikes", "description": "d"}
    assert row.stage is ProjectStage.SOURCING


def test_save_snapshot__order_of_a_mapping_is_kept_and_changed(database: Database) -> None:
    save_snapshot(database, "bikes", {"classes": {"tram": 0, "bicycle": 0}}, "one", None)
    assert save_snapshot(database, "bikes", {"classes": {"bicycle": 0, "tram": 0}}, "two", None)
    row = find_project(database, "bikes")
    assert row is not None
    assert list(row.config["classes"]) == ["bicycle", "tram"]  # type: ignore[call-overload]


def test_project_progress__failed_and_unavailable_hold_nothing_up(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "empty")
    add_project(database, "unlisted", is_sourced=False)
    add_video(database, "urls-a", "bikes", status=VideoStatus.EXTRACTED)
    add_video(database, "urls-b", "bikes", status=VideoStatus.FAILED)
    add_video(database, "urls-c", "bikes", status=VideoStatus.UNAVAILABLE)
    add_video(database, "urls-d", "bikes", member_status=ProjectVideoStatus.REJECTED)
    bikes = ProjectProgress("bikes", ProjectStage.SOURCING, True, 3, 1, 3, 1)
    assert project_progress(database) == [
        bikes,
        ProjectProgress("empty", ProjectStage.SOURCING, True, 0, 0, 0, 0),
        ProjectProgress("unlisted", ProjectStage.SOURCING, False, 0, 0, 0, 0),
    ]
    save_snapshot(database, "bikes", {}, "another hash", None)
    assert not project_progress(database)[0].is_sourced


def test_delete_project__memberships_go_videos_and_releases_stay(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    with database.transaction() as session:
        add_release(session, ReleaseRow(project_name="bikes", version="v1", fingerprint="f", num_images=1, num_boxes=1))
    assert delete_project(database, "bikes")
    assert [row.name for row in find_projects(database)] == ["trams"]
    assert find_members(database, "bikes") == []
    assert [member.video_key for member in find_members(database, "trams")] == ["urls-a"]
    assert [row.version for row in find_releases(database, "bikes")] == ["v1"]
