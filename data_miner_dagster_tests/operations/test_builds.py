"""The inputs from which a project would be built now, and those from which it was built."""

from pathlib import Path

from data_miner_dagster.catalog.projects import find_project, update_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.support.verdicts import frame_verdict


def row_of(platform: Platform) -> ProjectRow:
    row = find_project(platform.database, "cyclists")
    assert row is not None
    return row


def test_present_basis__changes_with_videos_settings_and_what_people_said(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    found = [present_basis(platform, row_of(platform))]
    update_project(platform.database, "cyclists", content_version=99)
    found.append(present_basis(platform, row_of(platform)))
    update_project(platform.database, "cyclists", config_hash="another")
    found.append(present_basis(platform, row_of(platform)))
    add_verdicts(platform.database, "cyclists", [frame_verdict("files-aaa/000001", 1.0, VerdictWord.KEEP)])
    found.append(present_basis(platform, row_of(platform)))
    assert len(set(found)) == 4
    assert present_basis(platform, row_of(platform)) == found[-1]


def test_project_stage__a_build_goes_through_all_stages_also_where_they_are_current(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    update_project(platform.database, "cyclists", stage=ProjectStage.COMPLETE, built_basis="of another time")
    stages = []
    for stage in (
        ProjectStage.FILTERING,
        ProjectStage.DEDUPLICATION,
        ProjectStage.DETECTION,
        ProjectStage.RELEASING,
    ):
        with project_stage(platform, "cyclists", stage):
            pass  # up to date, so `begin` is not called
        stages.append(
            (row_of(platform).stage.value, row_of(platform).built_basis == present_basis(platform, row_of(platform)))
        )
    assert stages == [
        ("DEDUPLICATION_READY", False),
        ("DETECTION_READY", False),
        ("RELEASING_READY", False),
        ("COMPLETE", True),
    ]
    with project_stage(platform, "cyclists", ProjectStage.DETECTION):
        pass
    assert row_of(platform).stage is ProjectStage.COMPLETE  # no build is in progress
