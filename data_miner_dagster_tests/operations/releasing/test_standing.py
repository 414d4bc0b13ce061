import shutil
from pathlib import Path

import pytest

from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.operations.releasing.check import check_release
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import list_releases
from data_miner_dagster.operations.reporting.report import write_report
from data_miner_dagster.operations.split_memory import read_manifests
from data_miner_dagster_tests.support.sample_project import build_project


def test_withdrawn_release__is_neither_exported_nor_reused(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    withdraw_release(platform.database, "cyclists", "v001", "its author asked for it")
    check = check_release(platform, "cyclists")
    assert (check.holds, check.withdrawn_reason) == (True, "its author asked for it")
    manifest = read_manifests(platform, "cyclists")["v001"]
    write_report(platform, platform.project_config("cyclists"), manifest, withdrawn=check.withdrawn_reason)
    assert "its author asked for it" in (platform.layout.report_folder("cyclists") / "index.html").read_text()
    with pytest.raises(DataMinerError, match=r"was withdrawn \(its author asked for it"):
        export_release(platform, "cyclists", format="coco", to=tmp_path / "out")
    # the tables are unchanged, but a withdrawn release is not reused
    again = release_project(platform, "cyclists")
    assert (again.status, again.metadata["version"]) == (OutcomeStatus.DONE, "v002")


def test_list_releases__files_are_gone(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    shutil.rmtree(platform.layout.releases_folder("cyclists"))
    (listed,) = list_releases(platform, "cyclists")
    assert (listed.state, listed.num_videos, listed.num_images) == ("files are missing", None, 7)


def test_list_releases__a_damaged_manifest_hides_no_other_release(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    first = platform.layout.release_folder("cyclists", "v001")
    shutil.copytree(first, first.with_name("v002"))
    (first / "release.json").write_text("{")
    damaged, whole = list_releases(platform, "cyclists")
    assert (damaged.num_videos, damaged.num_images, damaged.folder) == (None, 7, first)
    assert damaged.state.startswith(f"damaged: {first / 'release.json'} is damaged")
    assert (whole.version, whole.state, whole.num_images) == ("v002", "whole", 7)
