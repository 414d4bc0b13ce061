from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import NotReadyError
from data_miner_dagster.operations.deduplication.check import check_deduplication
from data_miner_dagster.operations.filtering.filter_project import filter_project
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
from data_miner_dagster_tests.support.faults import change_rows


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """Return an empty platform."""
    return PlantedPlatform(tmp_path)


def tamper(platform: PlantedPlatform, row: int, **values: object) -> None:
    """Change one row of the deduplicated table, as a bug might."""
    change_rows(platform.layout.deduplicated_table("pets"), lambda rows: rows[row].update(values))


def test_check_deduplication__not_made_yet(platform: PlantedPlatform) -> None:
    save(platform)
    with pytest.raises(NotReadyError, match="has no filtered_frames yet"):
        check_deduplication(platform, "pets")
    filter_project(platform, "pets")
    with pytest.raises(NotReadyError, match="has no deduplicated_frames yet"):
        check_deduplication(platform, "pets")


def test_check_deduplication__kept_duplicate_is_found(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT_ON_BUS])
    run(platform)
    tamper(platform, 1, is_representative=True, representative_frame_id="site-a/000001", similarity=None, tier=None)
    check = check_deduplication(platform, "pets")
    assert not check.holds
    assert check.report.num_too_close == 1
    assert check.first_offenders == (("site-a/000001", "site-a/000000"),)
    assert "site-a/000001 and site-a/000000" in check.description


def test_check_deduplication__unsupported_removal_is_found(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT_ON_BUS])
    run(platform)
    tamper(platform, 1, representative_frame_id="site-a/000002")
    check = check_deduplication(platform, "pets")
    assert not check.holds
    assert (check.report.num_too_close, check.report.num_unsupported) == (0, 1)


def test_check_deduplication__kept_frames_of_one_hash_or_file_are_found(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, CAT_ON_BUS, CAT_ON_SLIDE], perceptual_hash=[2**40 - 1] * 3, sha256=["1", "1", "2"])
    decided = run(platform)
    assert {tier for _, tier in decided.values()} == {None, "exact", "perceptual_hash"}
    tamper(platform, 1, is_representative=True, representative_frame_id="site-a/000001", similarity=None, tier=None)
    assert check_deduplication(platform, "pets").report.num_too_close == 1
