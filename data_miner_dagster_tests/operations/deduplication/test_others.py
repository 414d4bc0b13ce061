"""Test deduplication against other projects and earlier releases."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.catalog.projects import delete_project
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.comparisons import check_comparisons
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.upkeep.removal import remove_videos
from data_miner_dagster.storage.tables import open_table, read_table, write_table
from data_miner_dagster_tests.support.axis_duplicates import (
    CAT,
    CAT_ON_BUS,
    CAT_ON_SLIDE,
    NEARLY_CAT,
    plant,
    run,
    save,
)
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
from data_miner_dagster_tests.support.catalog import add_video


def test_deduplicate_project__against_another_project(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    save(platform, against_projects=["earlier"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    with pytest.raises(ConfigError, match=r"earlier.*not been deduplicated"):
        run(platform)
    run(platform, "earlier")
    assert run(platform) == {
        "site-b/000000": ("site-a/000000", "other_project"),
        "site-b/000001": ("site-b/000001", None),
    }
    plant(platform, "site-c", [CAT, CAT_ON_SLIDE])
    assert run(platform)["site-b/000000"] == ("site-a/000000", "other_project")
    # With the same video in both projects, its frames belong to the earlier project.
    add_video(platform.database, "site-a", "pets", status=VideoStatus.EXTRACTED)
    assert run(platform)["site-a/000000"] == ("site-a/000000", "other_project")


def test_deduplicate_project__projects_in_a_circle(platform: PlantedPlatform) -> None:
    save(platform, "one", against_projects=["two"])
    save(platform, "two", against_projects=["one"])
    plant(platform, "site-a", [CAT], project="one")
    filter_project(platform, "one")
    with pytest.raises(ConfigError, match="leads back"):
        deduplicate_project(platform, "one")


def test_deduplicate_project__a_video_of_another_project_that_a_fault_meets_ends_no_other_s(
    platform: PlantedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    plant(platform, "site-c", [CAT_ON_BUS], project="earlier")
    run(platform, "earlier")
    save(platform, against_projects=["earlier"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    with monkeypatch.context() as patched:

        def open_or_raise(path: Path) -> pq.ParquetFile:
            if path.parent.name == "site-a":
                raise ZeroDivisionError("planted")
            return open_table(path)

        patched.setattr("data_miner_dagster.storage.frames.open_table", open_or_raise)
        assert run(platform) == {
            "site-b/000000": ("site-b/000000", None),
            "site-b/000001": ("site-c/000000", "other_project"),
        }
    assert run(platform)["site-b/000000"] == ("site-a/000000", "other_project")


def test_deduplicate_project__against_a_release(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT, CAT_ON_SLIDE], project="earlier")
    save(platform, against_releases=["earlier/v1"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    filter_project(platform, "pets")
    with pytest.raises(ConfigError, match="is not a release"):
        deduplicate_project(platform, "pets")
    released = read_table(platform.layout.frames_table("site-a"), ["frame_id", "video_key", "frame_index"])
    path = images_table(platform.layout.release_folder("earlier", "v1"))
    write_table(path, released.slice(0, 1), fingerprint="v1")
    assert run(platform) == {
        "site-b/000000": ("site-a/000000", "earlier_release"),
        "site-b/000001": ("site-b/000001", None),
    }


def test_deduplicate_project__what_it_is_compared_with_goes(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    plant(platform, "site-a", [CAT], project="earlier")
    plant(platform, "site-c", [CAT_ON_BUS], project="earlier")
    run(platform, "earlier")
    released = read_table(platform.layout.frames_table("site-c"), ["frame_id", "video_key", "frame_index"])
    images = images_table(platform.layout.release_folder("earlier", "v001"))
    write_table(images, released, fingerprint="v001")
    with platform.database.transaction() as session:
        row = ReleaseRow(project_name="earlier", version="v001", fingerprint="f", num_images=7, num_boxes=0)
        add_release(session, row)
    save(platform, against_projects=["earlier"], against_releases=["earlier/v001"])
    plant(platform, "site-b", [NEARLY_CAT, CAT_ON_BUS])
    assert {tier for _, tier in run(platform).values()} == {"other_project"}
    remove_videos(platform, ["site-a"], force=True)
    assert run(platform)["site-b/000000"] == ("site-b/000000", None)
    assert deduplicate_project(platform, "pets").metadata["num_foreign_gone"] == 1
    delete_project(platform.database, "earlier")
    assert run(platform)["site-b/000001"] == ("site-c/000000", "earlier_release")
    shutil.rmtree(images.parent.parent)
    assert run(platform)["site-b/000001"] == ("site-b/000001", None)
    assert deduplicate_project(platform, "pets").metadata["num_foreign_gone"] == 7


def test_check_comparisons__names_that_never_were(platform: PlantedPlatform) -> None:
    save(platform, "earlier")
    release = images_table(platform.layout.release_folder("earlier", "v001")).parent.parent
    release.mkdir(parents=True)
    (release / "release.json").write_text("{}")

    def check(**deduplication: list[str]) -> None:
        save(platform, "new", **deduplication)
        config = platform.project_config("new")
        delete_project(platform.database, "new")
        check_comparisons(platform, "new", config)

    check()
    check(against_projects=["earlier"])
    with pytest.raises(ConfigError, match=r"'earlie', which is not a project; did you mean 'earlier'\?"):
        check(against_projects=["earlie"])
    with pytest.raises(ConfigError, match=r"'earlier/v1', which is not a release; did you mean 'earlier/v001'\?"):
        check(against_releases=["earlier/v1"])
    with pytest.raises(ConfigError, match="contains new itself; remove it from the list"):
        check(against_projects=["new"])
    save(platform, "old", against_projects=["gone"], against_releases=["gone/v001"])
    # the project was already compared with them; they have disappeared since
    check_comparisons(platform, "old", platform.project_config("old"))
