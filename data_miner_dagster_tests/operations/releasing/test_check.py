from pathlib import Path

import pytest
from sqlalchemy import delete

from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.releasing.check import check_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_platform, build_project


def test_check_release__no_project_and_no_release(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        check_release(build_platform(tmp_path / "empty"), "cyclists")
    with pytest.raises(ConfigError, match="has no release yet"):
        check_release(build_project(tmp_path / "root"), "cyclists")


def test_check_release__finds_what_changed(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    sound = check_release(platform, "cyclists")
    assert (sound.version, sound.holds, sound.withdrawn_reason) == ("v001", True, None)
    folder = platform.layout.release_folder("cyclists", "v001")
    labels = next((folder / "labels").rglob("*.txt"))
    labels.unlink()
    coco = folder / "annotations" / "instances_all.json"
    coco.write_bytes(coco.read_bytes().replace(b"person", b"persoN"))
    (folder / "labels" / "train.cache").write_bytes(b"left by a training run")
    assert check_release(platform, "cyclists").problems == (
        "annotations/instances_all.json: its sha256 has changed",
        f"{labels.relative_to(folder).as_posix()}: missing",
    )
    with pytest.raises(ConfigError, match="no release 'v009' on disk; use one of v001"):
        check_release(platform, "cyclists", "v009")


def test_check_release__not_in_the_catalog(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    with platform.database.transaction() as session:
        session.execute(delete(ReleaseRow))
    check = check_release(platform, "cyclists")
    assert (check.holds, check.problems) == (False, ("the release is not in the catalog",))
    assert check.description == (
        "release v001 is not in the catalog; run `data-miner run --config FILE --force`, which records it, or builds a "
        "new release if the project has changed"
    )
    data_yaml = platform.layout.release_folder("cyclists", "v001") / "data.yaml"
    content = data_yaml.read_text()
    data_yaml.unlink()
    assert "is damaged (data.yaml: missing, the release is not in the catalog); restore the release from a" in (
        check_release(platform, "cyclists").description
    )
    data_yaml.write_text(content)
    release_project(platform, "cyclists", force=True)
    assert check_release(platform, "cyclists").holds
