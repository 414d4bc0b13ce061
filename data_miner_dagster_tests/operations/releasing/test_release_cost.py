"""Test the cost of a release: sums of rows with known amounts, in the catalog, the list and the report."""

import json
from pathlib import Path

import pytest

from data_miner_dagster.catalog.measurements import spent_by_stage, store_spent
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import Meter, note
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import list_releases
from data_miner_dagster.operations.reporting.costs import project_cost
from data_miner_dagster_tests.operations.releasing.release_folders import files_of, release_folder
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.sample_project import build_project


def spend(platform: Platform, stage: WorkStage, subject: str, measured: Measured) -> None:
    with Meter(stage, subject).working(), platform.database.transaction() as session:
        note(measured)
        store_spent(session, subject)


def test_release_project__cost_is_the_sum_of_what_was_measured(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    for key in ("files-aaa", "files-bbb", "files-ccc"):
        spend(platform, WorkStage.DOWNLOADING, key, Measured(num_requests=7, bytes_received=70_000, gpu_seconds=14))
    spend(platform, WorkStage.DETECTION, "cyclists", Measured(gpu_seconds=28))
    add_project(platform.database, "trams")
    add_video(platform.database, "files-zzz", "trams")
    add_video(platform.database, "files-aaa", "trams")
    # of a video that only another project has
    spend(platform, WorkStage.DOWNLOADING, "files-zzz", Measured(num_requests=100))
    outcome = release_project(platform, "cyclists")
    (row,) = find_releases(platform.database, "cyclists")
    assert row.cost is not None
    assert (row.cost["num_images"], row.cost["num_boxes"]) == (row.num_images, row.num_boxes) == (7, row.num_boxes)
    assert (row.cost["total"]["num_requests"], row.cost["total"]["bytes_received"]) == (21, 210_000)
    assert row.cost["total"]["gpu_seconds"] == pytest.approx(70)
    assert row.cost["per_image"] == {
        "num_requests": 3,
        "bytes_received": 30_000,
        "cpu_seconds": pytest.approx(row.cost["total"]["cpu_seconds"] / 7, abs=0.001),
        "gpu_seconds": 10,
    }
    assert row.cost["per_box"]["gpu_seconds"] == pytest.approx(70 / row.num_boxes, abs=0.001)
    assert (row.cost["num_shared_videos"], row.cost["num_sharing_projects"]) == (1, 1)
    spent = spent_by_stage(platform.database, "cyclists")
    told = {stage["stage"]: stage for stage in row.cost["stages"]}
    assert list(told) == ["downloading", "detection", "releasing"]
    assert told["downloading"]["cpu_seconds"] == pytest.approx(spent[WorkStage.DOWNLOADING].cpu_seconds, abs=0.001)
    assert told["releasing"]["num_frames"] == spent[WorkStage.RELEASING].num_frames == 7
    # the catalog's figure also includes the report
    assert 0 < told["releasing"]["cpu_seconds"] <= spent[WorkStage.RELEASING].cpu_seconds + 0.001
    assert "21 requests, 210 kB received" in str(outcome.metadata["cost"])
    assert list_releases(platform, "cyclists")[0].cost == row.cost
    page = platform.layout.report_page("cyclists").read_text(encoding="utf-8")
    assert "<h2>Cost</h2>" in page
    assert "3 requests, 30 kB received" in page
    assert "1 video is shared with 1 other project" in page

    release_project(platform, "cyclists")  # reused: nothing is measured, and the cost does not change
    assert spent_by_stage(platform.database, "cyclists") == spent
    assert find_releases(platform.database, "cyclists")[0].cost == row.cost
    assert project_cost(platform, "cyclists").total.num_requests == 21


def test_release_project__bytes_do_not_depend_on_the_cost(tmp_path: Path) -> None:
    cheap, dear = build_project(tmp_path / "cheap"), build_project(tmp_path / "dear")
    spend(dear, WorkStage.DOWNLOADING, "files-aaa", Measured(num_requests=1000, gpu_seconds=1e6))
    for platform in (cheap, dear):
        release_project(platform, "cyclists")
    assert files_of(release_folder(cheap)) == files_of(release_folder(dear))


def test_release_project__what_it_took_in_units_of_every_machine(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    folder = release_folder(platform)
    effort = json.loads((folder / "release.json").read_text())["effort"]
    texts = ("README.md", "datasheet.md", "release.json", "SHA256SUMS")
    of_labels = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jpg"]
    assert effort == {
        "num_videos": 4,  # one of them failed after its file had been stored
        "videos_size_bytes": 4 * len("the bytes of files-aaa"),
        "videos_seconds": 16.0,
        "num_frames": 12,
        "models": [
            {"role": "frame filter", "name": "lite-conse", "num_images": 12},
            {"role": "near-duplicates", "name": "lite-efficientnet", "num_images": 9},
            {"role": "detector", "name": "lite-yolov3-tiny", "num_images": 7},
        ],
        "labels_size_bytes": sum(path.stat().st_size for path in of_labels if path.name not in texts),
    }
    for name in ("README.md", "datasheet.md"):
        assert "| images examined by lite-yolov3-tiny (detector) | 7 |" in (folder / name).read_text()
    export_release(platform, "cyclists", format="huggingface", to=tmp_path / "hub")
    assert "| frames sampled | 12 |" in (tmp_path / "hub" / "README.md").read_text()
