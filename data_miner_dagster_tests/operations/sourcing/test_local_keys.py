"""Keys of local files: readable, and one per content, whatever the files are called."""

import hashlib
from pathlib import Path

import pytest

from data_miner_dagster.catalog.forgotten import remember_forgotten
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.domain.keys import forgotten_subject
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.adding import add_video
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.support.catalog import add_video as add_row
from data_miner_dagster_tests.support.local_projects import add_project, make_platform

BIKES = b"bicycles"
DIGEST = hashlib.sha256(BIKES).hexdigest()


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return make_platform(tmp_path / "root")


def keys_of(platform: Platform, tmp_path: Path, *names: str) -> list[str]:
    """List files with these names and the same content, and return the keys of the project's members."""
    for name in names:
        (tmp_path / name).write_bytes(BIKES)
    add_project(platform, [{"type": "files", "paths": list(names)}], config_file=tmp_path / "p.yaml")
    list_sources(platform, "p")
    return [member.video_key for member in find_members(platform.database, "p")]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("bikes.mp4", "file-bikes"),
        ("Rue de l'Été 12.mov", "file-Rue-de-l-Ete-12"),
        ("велосипед.mp4", "file-velosiped"),
        ("....mp4", "file-video"),
    ],
)
def test_key__has_the_name_of_the_file(platform: Platform, tmp_path: Path, name: str, key: str) -> None:
    assert keys_of(platform, tmp_path, name) == [f"{key}.{DIGEST[:16]}"]


def test_key__is_of_the_content_under_whatever_name(platform: Platform, tmp_path: Path) -> None:
    (key,) = keys_of(platform, tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "a.mp4").unlink()
    assert keys_of(platform, tmp_path, "c.mp4") == [key]
    assert add_video(platform, "p", str(tmp_path / "c.mp4")) == [(key, False)]


def test_key__a_root_of_an_earlier_version_keeps_its_own(platform: Platform, tmp_path: Path) -> None:
    earlier = f"file-{DIGEST[:32]}"
    add_row(platform.database, earlier)
    assert keys_of(platform, tmp_path, "bikes.mp4") == [earlier]


def test_key__a_new_catalog_finds_the_files_of_the_old_one(platform: Platform, tmp_path: Path) -> None:
    earlier = f"file-{DIGEST[:32]}"
    assert find_projects(platform.database) == []  # this creates the catalog
    platform.layout.video_folder(earlier).mkdir(parents=True)
    assert keys_of(platform, tmp_path, "bikes.mp4") == [earlier]


@pytest.mark.parametrize("forgotten", [f"file-{DIGEST[:32]}", f"file-bikes.{DIGEST[:16]}"])
def test_key__what_was_forgotten_stays_away_under_another_name(
    platform: Platform, tmp_path: Path, forgotten: str
) -> None:
    remember_forgotten(platform.database, [forgotten_subject("video", forgotten)], "asked for")
    (tmp_path / "other.mp4").write_bytes(b"another")
    keys = keys_of(platform, tmp_path, "renamed.mp4")
    assert keys == []
