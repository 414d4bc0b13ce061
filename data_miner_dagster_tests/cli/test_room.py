"""What the commands report about disk space, and what `clean` does, with a real extracted video."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.cli.upgrading import lines_before_work
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.local_projects import add_project
from data_miner_dagster_tests.support.small_videos import make_noise


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "platform.yaml"
    file.write_text(yaml.safe_dump({"platform": {"room": {"quota": "100MB"}, "models": {"profile": "lite"}}}))
    return file


@pytest.fixture
def platform(tmp_path: Path, settings: Path) -> Platform:
    clip = make_noise(tmp_path / "clip.mp4", seed=1)
    platform = open_platform(tmp_path / "root", settings)
    add_project(platform, [{"type": "files", "paths": [str(clip)]}])
    list_sources(platform, "p")
    keys = [row.key for row in find_videos(platform.database)]
    download_videos(platform, keys)
    extract_frames(platform, keys)
    return platform


def test_status__what_takes_room(run_command: RunCommand, platform: Platform, settings: Path) -> None:
    content = json.loads(run_command("status", "--root", platform.root, "--config", settings, "--json").stdout)
    [row] = find_videos(platform.database)
    room = {line["what"]: line for line in content["room"]}
    assert room["files of videos"] == {
        "what": "files of videos",
        "bytes": row.size_bytes,
        "removable_bytes": row.size_bytes,
        "removable": 1,
    }
    folder = platform.layout.frames_folder(row.key)
    assert room["frames"]["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert room["quota"]["bytes"] == 100_000_000
    assert room["in all"]["bytes"] == sum(
        room[name]["bytes"] for name in ("files of videos", "frames", "everything else")
    )
    assert (
        "of the quota of 100 MB is used" in run_command("doctor", "--root", platform.root, "--config", settings).stdout
    )


def test_clean__counts_first_and_the_price_is_said_before_frames_are_made_again(
    run_command: RunCommand, platform: Platform
) -> None:
    [row] = find_videos(platform.database)
    told = run_command("clean", "--root", platform.root, "--dry-run").stdout
    assert "sources: 1, 1.18 MB" in told
    assert find_videos(platform.database)[0].stored_bytes == row.size_bytes
    cleaned = run_command("clean", "--root", platform.root, "--kind", "sources", "--yes").stdout
    assert cleaned.endswith("1.18 MB freed\n")
    assert find_videos(platform.database)[0].stored_bytes is None
    assert "sources: 0, 0 B" in run_command("clean", "--root", platform.root, "--dry-run").stdout
    assert run_command("doctor", "--root", platform.root).exit_code == 0
    shutil.rmtree(platform.layout.frames_folder(row.key))
    fixed = run_command("doctor", "--root", platform.root, "--fix")
    assert fixed.exit_code == 0
    told = "1 video (1.18 MB) must be downloaded again to extract frames, because its file is missing"
    assert lines_before_work(platform, "p") == [told]
    planned = run_command(
        "backfill", "--asset", "frames", "--project", "p", "--dry-run", "--root", platform.root
    ).stdout
    assert planned.splitlines() == ["frames of project p: 1 video in 1 run", told]


def test_clean__unknown_kind(run_command: RunCommand, platform: Platform) -> None:
    with pytest.raises(ConfigError, match="--kind 'source' is not a kind"):
        run_command("clean", "--root", platform.root, "--kind", "source")
