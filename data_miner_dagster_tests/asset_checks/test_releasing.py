from pathlib import Path

import numpy as np
import pytest

from data_miner_dagster.asset_checks.releasing import release_is_whole, splits_do_not_leak
from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.domain.errors import DamagedFileError, DataMinerError
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.releasing.leaks import check_leaks
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.embeddings import plant_embeddings
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_platform, build_project


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The folder of a project's first release."""
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    return platform.layout.release_folder("cyclists", "v001")


def test_release_is_whole__passes(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert found.passed
    assert found.description is None
    assert figures_of(found) == {
        "release": "v001",
        "files": sum(path.is_file() for path in release.rglob("*")) - 2,  # without manifest and checksums
        "problems": 0,
        "first problems": "none",
        "withdrawn": "no",
    }


def test_release_is_whole__fails_and_names_the_files(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, *_, changed = sorted((release / "images").rglob("*.jpg"))
    missing.unlink()
    content = changed.read_bytes()
    changed.unlink()  # the image is a hard link to a frame, which must not change
    changed.write_bytes(content[:-1])
    first, second = (path.relative_to(release).as_posix() for path in (missing, changed))
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert not found.passed
    assert found.description == (
        f"release v001 is damaged ({first}: missing, {second}: its sha256 has changed); restore the release from a "
        "backup, or, if the project has not changed since the release was built, run "
        "`data-miner run --config FILE --force` to write it again"
    )
    figures = figures_of(found)
    assert figures["problems"] == 2
    assert figures["first problems"] == f"{first}: missing, {second}: its sha256 has changed"


def test_release_is_whole__fails_where_the_list_of_checksums_is_another(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release / "SHA256SUMS").write_bytes((release / "SHA256SUMS").read_bytes()[:-70])
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert not found.passed
    assert "SHA256SUMS: its sha256 has changed" in str(found.description)


@pytest.mark.usefixtures("release")
def test_release_is_whole__says_that_a_release_was_withdrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = build_project(tmp_path)
    withdraw_release(platform.database, "cyclists", "v001", "its author asked for it")
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert found.passed
    assert figures_of(found)["withdrawn"] == "its author asked for it"


AXES = np.eye(8, dtype=np.float16)
HASH = 0x0F0F_0F0F_F0F0_F0F0
LARGE = SampleVideo("files-large", num_frames=4, perceptual_hash=HASH)
SMALL = SampleVideo("files-small", num_frames=2, perceptual_hash=HASH)
TINY = SampleVideo("files-tiny", num_frames=1, perceptual_hash=HASH)


def released_with(root: Path, axes: dict[str, list[int]], *videos: SampleVideo) -> None:
    """Release videos whose frames have equal hashes; `axes` gives the embedding axis of each frame, by video."""
    platform = build_project(root, videos=videos, releasing={"splits": {"train": 0.7, "val": 0.3}})
    for key, of_video in axes.items():
        plant_embeddings(platform, key, AXES[of_video])
    release_project(platform, "cyclists")


def test_splits_do_not_leak__passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"files-large": [0, 1, 2, 2], "files-small": [3, 4], "files-tiny": [5]}
    released_with(tmp_path, axes, LARGE, SMALL, TINY)
    found = run_check(splits_do_not_leak, tmp_path, "cyclists", monkeypatch)
    assert found.passed
    figures = figures_of(found)
    assert figures["pairs that look alike"] == 0
    assert figures["limits"] == "6 of 64 bits; cosine 0.985 by lite-conse"
    assert figures["pairs compared"] in (2 * 5, 1 * 6)  # one of the small videos is in `val`


def test_splits_do_not_leak__fails_and_names_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"files-large": [0, 1, 2, 3], "files-small": [4, 2], "files-tiny": [2]}
    released_with(tmp_path, axes, LARGE, SMALL, TINY)
    found = run_check(splits_do_not_leak, tmp_path, "cyclists", monkeypatch)
    assert not found.passed
    figures = figures_of(found)
    assert figures["pairs that look alike"] == 2
    assert "at most 6 of 64 bits apart and a cosine of at least 0.985 by lite-conse" in str(found.description)
    assert "files-large/000002 (train) and files-" in str(found.description)
    assert "releasing.fixed_splits" in str(found.description)
    (spec,) = splits_do_not_leak.check_specs
    assert spec.blocking


def test_splits_do_not_leak__damage_of_a_release_is_not_called_derived(release: Path) -> None:
    images_table(release).write_bytes(images_table(release).read_bytes()[:-20])
    with pytest.raises(DataMinerError, match=r"images\.parquet is damaged .*; restore the file from a backup") as told:
        check_leaks(build_platform(release.parents[2]), "cyclists")
    assert not isinstance(told.value, DamagedFileError)


def test_splits_do_not_leak__parts_of_one_video_are_counted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released_with(tmp_path, {"files-large": [0, 0, 0, 0]}, LARGE)
    found = run_check(splits_do_not_leak, tmp_path, "cyclists", monkeypatch)
    assert found.passed
    figures = figures_of(found)
    assert figures["within one video"] == figures["pairs compared"] == 3
