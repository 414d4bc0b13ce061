"""Test rebuilding releases that also depend on other projects, or on pictures around the frames."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_miner_dagster.catalog.project_rows import StoredRow
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing import writing
from data_miner_dagster.operations.releasing.rebuilding import _config_of, plan_rebuild, rebuild_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.splitting import split_videos
from data_miner_dagster.operations.upkeep.removal import remove_videos
from data_miner_dagster_tests.operations.releasing.release_folders import files_of
from data_miner_dagster_tests.support.living_project import PROJECT, STAGES, LivingPlatform

SETTINGS = {"keep": 0.5, "near": 0.99, "confidence": 0.05, "unsure_from": 0.05}
SPLITS = {"train": 0.5, "test": 0.5}
CLIP = "file-a"


def _save(platform: Platform, name: str, dump: dict[str, Any]) -> None:
    dump = ProjectConfig.model_validate(dump | {"name": name}).model_dump(mode="json")
    save_snapshot(platform.database, name, dump, fingerprint_of(dump), None)


def _rebuilt(platform: Platform, project: str, version: str, to: Path) -> dict[str, bytes]:
    plan = plan_rebuild(platform, project, version=version)
    assert plan.lacks == []
    return files_of(rebuild_release(platform, plan, to).folder)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root of a project of three videos that is compared with a project which has one of them."""
    platform = LivingPlatform(tmp_path_factory.mktemp("released") / "root")
    platform.configure(**SETTINGS, splits=SPLITS)
    for key, angles in (("files-x0", (0, 30)), ("files-x1", (15,)), ("files-x2", (5, 45))):
        platform.add(key, angles)
    row = find_project(platform.database, PROJECT)
    assert row is not None
    dump: dict[str, Any] = dict(row.config)
    _save(platform, "earlier", dump)
    dump["deduplication"] = dump["deduplication"] | {"against_projects": ["earlier"]}
    platform.add("files-x0", (0, 30), project="earlier")
    for stage in STAGES[:2]:
        stage(platform, "earlier")
    _save(platform, PROJECT, dump)
    platform.run_stages()
    release_project(platform, PROJECT)
    platform.database.dispose()
    return platform.root


@pytest.fixture
def living(released: Path, tmp_path: Path) -> Iterator[LivingPlatform]:
    """Yield a copy of the released root that the test may change."""
    shutil.copytree(released, tmp_path / "root")
    platform = LivingPlatform(tmp_path / "root")
    yield platform
    platform.database.dispose()


def test_rebuild_release__compared_with_another_project(living: LivingPlatform, tmp_path: Path) -> None:
    release = living.layout.release_folder(PROJECT, "v001")
    manifest = read_manifest(release)
    assert manifest is not None
    # x0 belongs to the other project, and the 5-degree frame of x2 resembles one of its frames
    assert sorted(path.stem for path in release.rglob("*.jpg")) == ["files-x1_000000", "files-x2_000001"]
    assert _rebuilt(living, PROJECT, "v001", tmp_path / "out") == files_of(release)
    living.add("files-x9", (58,), project="earlier")
    for stage in STAGES[:2]:
        stage(living, "earlier")
    assert plan_rebuild(living, PROJECT, version="v001").lacks == [
        "projects or releases that the project was compared with have changed since the release was built; restore the "
        "earlier ones"
    ]
    living.layout.deduplicated_table("earlier").unlink()
    (line,) = plan_rebuild(living, PROJECT, version="v001").lacks
    assert "names 'earlier', which has not been deduplicated" in line


def test_rebuild_release__after_a_video_was_removed(living: LivingPlatform, tmp_path: Path) -> None:
    remove_videos(living, ["files-x2"], force=True)
    plan = plan_rebuild(living, PROJECT, version="v001")
    (line,) = plan.lacks
    assert line.startswith(
        "the frames of files-x2 are missing; restore the frames from a backup, or run `data-miner backfill"
    )
    with pytest.raises(DataMinerError, match="the frames of files-x2 are missing"):
        rebuild_release(living, plan, tmp_path / "out")


def test_config_of__names_the_setting_that_is_no_longer_valid() -> None:
    row = StoredRow("projects", None, json.dumps({"config": {"name": "a", "detection": {"classes": {}}}}))
    with pytest.raises(
        DataMinerError, match=r"not valid in this version of data-miner-dagster \(\w+[\w.]*: .*\); install"
    ):
        _config_of("a", "v001", row)


def _split_otherwise(*given: Any) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    groups, splits = split_videos(*given)
    return groups, splits | {"files-x3": "train" if splits["files-x3"] == "test" else "test"}


def test_rebuild_release__of_an_earlier_version_with_other_splits_and_no_cost(
    living: LivingPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living.add("files-x3", (57,))
    living.run_stages()
    with monkeypatch.context() as patch:
        patch.setattr(writing, "effort_of", lambda *_: None)
        patch.setattr(writing, "split_videos", _split_otherwise)
        assert release_project(living, PROJECT).metadata["version"] == "v002"
    before = files_of(living.layout.release_folder(PROJECT, "v002"))
    assert b"## Cost" not in before["datasheet.md"] + before["README.md"]
    assert _rebuilt(living, PROJECT, "v002", tmp_path / "out") == before
    (living.layout.release_folder(PROJECT, "v002") / "data.yaml").unlink()
    release_project(living, PROJECT, force=True)
    assert files_of(living.layout.release_folder(PROJECT, "v002")) == before
    assert b"## Cost" in files_of(living.layout.release_folder(PROJECT, "v001"))["datasheet.md"]
