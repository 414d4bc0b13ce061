from pathlib import Path

import pytest

from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.upkeep import withdraw_release
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export.manifest import write_manifest
from data_miner_dagster.operations.exporting import export_release
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.builders import build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path / "root", videos=(), through="sourcing")


def publish(platform: Platform, version: str) -> Path:
    folder = platform.layout.release_folder("cyclists", version)
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "images" / "train" / "1.jpg").write_bytes(version.encode())
    write_manifest(folder, {}, {})
    (folder / "WITHDRAWN.txt").write_text("not part of the release")
    with platform.catalog.database.transaction() as session:
        row = ReleaseRow(project_name="cyclists", version=version, fingerprint="f", num_images=1, num_boxes=1)
        platform.catalog.add_release(session, row)
    return folder


def test_export_release__none(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no release to export; known: none"):
        export_release(platform, "cyclists", tmp_path / "out")
    with pytest.raises(ConfigError, match="no project 'nobody'"):
        export_release(platform, "nobody", tmp_path / "out")


def test_export_release__latest_that_was_not_withdrawn_or_the_one_named(platform: Platform, tmp_path: Path) -> None:
    for version in ("v001", "v002", "v003"):
        publish(platform, version)
    withdraw_release(platform.catalog.database, "cyclists", "v003", "asked")
    assert export_release(platform, "cyclists", tmp_path / "latest") == "v002"
    assert export_release(platform, "cyclists", tmp_path / "first", version="v001") == "v001"
    assert (tmp_path / "first" / "images" / "train" / "1.jpg").read_bytes() == b"v001"
    assert sorted(path.name for path in (tmp_path / "latest").iterdir()) == ["images", "release.json"]
    with pytest.raises(ConfigError, match="exists; name a folder that does not"):
        export_release(platform, "cyclists", tmp_path / "first")
    with pytest.raises(ConfigError, match="has no release v009; known: v001, v002, v003"):
        export_release(platform, "cyclists", tmp_path / "other", version="v009")


def test_export_release__damaged_file_leaves_nothing(platform: Platform, tmp_path: Path) -> None:
    folder = publish(platform, "v001")
    (folder / "images" / "train" / "1.jpg").write_bytes(b"v00X")
    with pytest.raises(DataMinerError, match=r"is damaged: images/train/1\.jpg: its sha256 has changed"):
        export_release(platform, "cyclists", tmp_path / "out")
    (folder / "images" / "train" / "1.jpg").unlink()
    with pytest.raises(DataMinerError, match="missing"):
        export_release(platform, "cyclists", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
