from pathlib import Path

import pytest

from data_miner_dagster.asset_checks.releasing import release_is_whole
from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """The folder of the first release of a project."""
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    return platform.layout.release_folder("cyclists", "v001")


def test_release_is_whole__passes(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert found.passed
    assert found.description is None
    assert figures_of(found) == {
        "release": "v001",
        "files": sum(path.is_file() for path in release.rglob("*")) - 2,  # the manifest, and the list of checksums
        "damaged files": 0,
        "which": "none",
        "withdrawn": "no",
    }


def test_release_is_whole__fails_and_names_the_files(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, *_, changed = sorted((release / "images").rglob("*.jpg"))
    missing.unlink()
    content = changed.read_bytes()
    changed.unlink()  # it is a hard link to a frame
    changed.write_bytes(content[:-1])
    first, second = (path.relative_to(release).as_posix() for path in (missing, changed))
    found = run_check(release_is_whole, tmp_path, "cyclists", monkeypatch)
    assert not found.passed
    assert found.description == (
        f"release v001: {first}: missing, {second}: its sha256 has changed; `data-miner run --force` writes it again"
    )
    figures = figures_of(found)
    assert figures["damaged files"] == 2
    assert figures["which"] == f"{first}: missing, {second}: its sha256 has changed"


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
