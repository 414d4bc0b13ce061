from pathlib import Path

import pytest

from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="extraction")


def test_delete_videos__wanted_ones_are_refused(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("delete-videos", "files-aaa", "files-eee", "--yes", "--root", platform.root)
    assert result.exit_code == 1
    assert "files-eee: removed" in result.stdout
    assert "files-aaa: kept, wanted by cyclists" in result.stderr
    assert run_command("delete-videos", "files-aaa", "--force", "--yes", "--root", platform.root).exit_code == 0
    assert not platform.layout.frames_folder("files-aaa").exists()


def test_delete_videos__out_of_one_project(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", str(platform.root)]
    told = run_command("delete-videos", "files-aaa", "--project", "cyclists", *root)
    assert (told.exit_code, told.stdout.partition(";")[0]) == (0, "files-aaa: taken out of cyclists")
    assert platform.layout.frames_folder("files-aaa").exists()
    assert run_command("delete-videos", "files-aaa", "--project", "cyclists", *root).exit_code == 1
    with pytest.raises(ConfigError, match="give one of them"):
        run_command("delete-videos", "files-aaa", "--project", "cyclists", "--force", *root)


def test_delete_videos__a_no_changes_nothing(run_command: RunCommand, platform: Platform) -> None:
    result = run_command("delete-videos", "files-eee", "--root", platform.root, answer="n\n")
    assert result.exit_code == 1
    assert find_video(platform.database, "files-eee") is not None


def test_delete_project__then_cleanup_orphans(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", str(platform.root)]
    assert "project cyclists removed" in run_command("delete-project", "cyclists", "--yes", *root).stdout
    assert len(find_videos(platform.database)) == 5
    assert "5 videos removed" in run_command("cleanup-orphans", "--yes", *root).stdout
    assert find_videos(platform.database) == []
    assert list(platform.layout.frames.iterdir()) == []
    assert "0 videos removed" in run_command("cleanup-orphans", *root).stdout
    with pytest.raises(ConfigError, match="no project 'cyclists'"):
        run_command("delete-project", "cyclists", "--yes", *root)
