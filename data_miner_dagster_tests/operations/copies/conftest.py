"""A root with a release, built once and copied for each test."""

import subprocess
from pathlib import Path

import pytest

from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture(scope="session")
def _root_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    platform = build_project(tmp_path_factory.mktemp("released") / "root")
    release_project(platform, "cyclists")
    platform.database.dispose()
    return platform.root


@pytest.fixture
def released_root(_root_to_copy: Path, tmp_path: Path) -> Path:
    """Return a root whose project `cyclists` has the release v001."""
    subprocess.run(["cp", "-a", str(_root_to_copy), str(tmp_path / "root")], check=True)  # preserves hard links
    return tmp_path / "root"
