from pathlib import Path

import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_platform

PROJECT = """\
name: bikes
sourcing: {sources: [{type: files, paths: [clips]}]}
filtering: {positive: [a bicycle]}
detection: {classes: {bicycle: []}}
platform: {models: {profile: lite}}
"""


@pytest.fixture
def project_file(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").write_bytes(b"one")
    (tmp_path / "clips" / "same as one.mp4").write_bytes(b"one")
    (tmp_path / "clips" / "two.mp4").write_bytes(b"two")
    path = tmp_path / "bikes.yaml"
    path.write_text(PROJECT)
    return path


def test_init_db__twice(run_command: RunCommand, tmp_path: Path) -> None:
    for _ in range(2):
        result = run_command("init-db", "--root", tmp_path)
        assert result.stdout.startswith(f"catalog sqlite:///{tmp_path}/catalog.sqlite is at revision 00")


def test_populate__lists_once_and_says_so(run_command: RunCommand, project_file: Path, tmp_path: Path) -> None:
    first = run_command("populate", "--config", project_file, "--root", tmp_path / "root")
    assert "project bikes: new configuration" in first.stdout
    assert "new" in first.stdout
    platform = build_platform(tmp_path / "root")
    assert len(find_videos(platform.database, project="bikes")) == 2
    assert "project bikes: unchanged" in run_command("populate", "-c", project_file, "--root", tmp_path / "root").stdout
    assert len(find_videos(platform.database)) == 2


def test_add_video__file_is_a_member_once(run_command: RunCommand, project_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_command("populate", "--config", project_file, "--root", root)
    other = tmp_path / "three.mp4"
    other.write_bytes(b"three")
    assert " was added to bikes" in run_command("add-video", "bikes", other, "--root", root).stdout
    again = run_command("add-video", "bikes", other, "--root", root).stdout
    assert " is in bikes, where it was already recorded" in again
    members = find_members(build_platform(root).database, "bikes")
    assert sorted(member.source for member in members) == ["by_hand", "files", "files"]


def test_add_video__no_such_project_or_file(run_command: RunCommand, project_file: Path, tmp_path: Path) -> None:
    run_command("populate", "--config", project_file, "--root", tmp_path / "root")
    with pytest.raises(ConfigError, match="project 'nobody' does not exist"):
        run_command("add-video", "nobody", project_file, "--root", tmp_path / "root")
    with pytest.raises(ConfigError, match=r"nowhere\.mp4"):
        run_command("add-video", "bikes", tmp_path / "nowhere.mp4", "--root", tmp_path / "root")


def test_add_video__forgotten_stays_out(run_command: RunCommand, project_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_command("populate", "--config", project_file, "--root", root)
    other = tmp_path / "three.mp4"
    other.write_bytes(b"three")
    key = run_command("add-video", "bikes", other, "--root", root).stdout.partition(" ")[0]
    assert f"{key}: removed" in run_command("forget", key, "--yes", "--root", root).stdout
    with pytest.raises(ConfigError, match="was removed on request"):
        run_command("add-video", "bikes", other, "--root", root)


def test_populate__forgotten_is_not_listed_again(run_command: RunCommand, project_file: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    run_command("populate", "--config", project_file, "--root", root)
    database = build_platform(root).database
    gone, stays = (video.key for video in find_videos(database))
    run_command("forget", gone, "--yes", "--root", root)
    assert "forgotten" in run_command("populate", "--config", project_file, "--root", root, "--force").stdout
    assert [video.key for video in find_videos(database)] == [stays]
