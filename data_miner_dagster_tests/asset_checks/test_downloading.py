"""The check of `videos`: the files recorded in the catalog exist."""

from pathlib import Path

import pytest

from data_miner_dagster.asset_checks.downloading import every_video_has_its_file
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.check_runs import figures_of, run_check
from data_miner_dagster_tests.support.local_projects import make_platform


def test_every_video_has_its_file__fails_for_a_file_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")
    for key in ("files-a", "files-b"):
        add_video(platform.database, key, "bikes", status=VideoStatus.DOWNLOADED)
    add_video(platform.database, "files-c", "bikes")  # not downloaded yet, so no file is expected
    files = [platform.layout.video_info(key) for key in ("files-a", "files-b")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = run_check(every_video_has_its_file, tmp_path, None, monkeypatch)
    assert found.passed
    assert figures_of(found) == {"videos": 2, "videos without their files": 0}
    files[0].unlink()
    found = run_check(every_video_has_its_file, tmp_path, None, monkeypatch)
    assert not found.passed
    assert figures_of(found) == {"videos": 2, "videos without their files": 1}
    assert str(found.description).startswith("files are missing for 1 of 2 videos; run `data-miner doctor` to list")
