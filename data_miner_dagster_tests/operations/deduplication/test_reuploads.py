from pathlib import Path

import pytest

from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.deduplication.reuploads import ReportedReupload, project_reuploads
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.support.axis_duplicates import (
    CAT,
    CAT_ON_BUS,
    CAT_ON_SLIDE,
    DOG,
    plant,
    run,
    save,
)
from data_miner_dagster_tests.support.axis_project import PlantedPlatform


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """Return an empty platform."""
    return PlantedPlatform(tmp_path)


def test_project_reuploads__before_deduplication_and_without_any(platform: PlantedPlatform) -> None:
    save(platform)
    assert project_reuploads(platform, "pets") == []
    plant(platform, "site-a", [CAT, CAT_ON_BUS])
    run(platform)
    assert project_reuploads(platform, "pets") == []


def test_deduplicate_project__whole_reupload_is_reported(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE, DOG], sharpness=[9, 9, 9, 9])
    plant(platform, "site-b", [CAT, CAT, CAT_ON_BUS, CAT_ON_SLIDE], sharpness=[1, 1, 1, 1])
    plant(platform, "site-c", [CAT_ON_SLIDE, CAT_ON_BUS, CAT], sharpness=[2, 2, 2])
    run(platform)
    assert read_table(platform.layout.reuploads_table("pets")).to_pylist() == [
        {
            "video_key": "site-b",
            "original_video_key": "site-a",
            "share": 1.0,
            "original_share": 1.0,
            "num_matched_frames": 4,
            "num_frames": 4,
        }
    ]
    assert deduplicate_project(platform, "pets").metadata["num_reuploads"] == 1
    assert project_reuploads(platform, "pets") == [
        ReportedReupload("site-b", "site-b", "site-a", "site-a", 1.0, 1.0, num_matched_frames=4, num_frames=4)
    ]


def test_deduplicate_project__without_the_reuploads_table_it_is_not_finished(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT])
    run(platform)
    platform.layout.reuploads_table("pets").unlink()
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.DONE
    assert platform.layout.reuploads_table("pets").exists()
