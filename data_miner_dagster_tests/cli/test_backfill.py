from pathlib import Path

import pytest
from sqlalchemy import update

from data_miner_dagster.catalog.holds import hold_items
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.deployment import existing_instance
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="extraction")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--asset", "frame"), "--asset 'frame' is not an asset; did you mean 'frames'"),
        (("--asset", "dataset", "--failed"), "is produced for a whole project"),
        (("--asset", "frames", "--stale", "--keys-file", "keys.txt"), "omit --missing, --failed and --stale"),
        (("--asset", "frames", "--keys-file", "keys.txt"), "files-zzz is not in the catalog"),
    ],
)
def test_backfill__says_what_is_wrong(
    run_command: RunCommand, platform: Platform, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(platform.root)
    (platform.root / "keys.txt").write_text("files-aaa\nfiles-zzz\n")
    with pytest.raises(ConfigError, match=line):
        run_command("backfill", *arguments, "--project", "cyclists", "--root", platform.root)


def test_backfill__counts_and_refuses_what_is_held(run_command: RunCommand, platform: Platform) -> None:
    of_project = ["--project", "cyclists", "--root", platform.root]
    told = run_command("backfill", "--asset", "frame_embeddings", "--dry-run", *of_project).stdout
    counted, failed = told.splitlines()
    assert counted == "frame_embeddings of project cyclists: 3 videos in 1 run; left out: 1 failed at extraction"
    again = f"--project cyclists --root {platform.root}`"
    assert failed == (
        f"failed at extraction: 1 given up; `data-miner status {again} shows the reasons, "
        f"and `data-miner backfill --asset frames --failed {again} retries them now"
    )
    assert (
        "1 video in 1 run" in run_command("backfill", "--asset", "frames", "--failed", "--dry-run", *of_project).stdout
    )
    assert "0 videos in 0 runs" in run_command("backfill", "--asset", "videos", *of_project).stdout
    assert not platform.layout.dagster_home.exists()
    hold_items(platform.database, project="cyclists", reason="paused by hand")
    with pytest.raises(DataMinerError, match="project cyclists has been held since"):
        run_command("backfill", "--asset", "frames", *of_project)


def test_backfill__scattered_keys_in_two_runs_of_this_process(run_command: RunCommand, tmp_path: Path) -> None:
    """Of 60 local videos whose files are missing, the 40 chosen ones fail in two runs; the others are not tried."""
    videos = tuple(SampleVideo(f"file-{number:02d}") for number in range(60))
    platform = build_project(tmp_path, videos=videos, through="sourcing")
    with platform.database.transaction() as session:
        session.execute(update(VideoRow).values(origin=Origin.LOCAL, url=str(tmp_path / "gone.mp4")))
    keys = [video.key for number, video in enumerate(videos) if number % 3]
    (tmp_path / "keys.txt").write_text("\n".join(keys))
    of_keys = ["--project", "cyclists", "--keys-file", tmp_path / "keys.txt", "--root", tmp_path]
    told = run_command("backfill", "--asset", "frames", *of_keys).stdout
    assert told == "frames of project cyclists: 0 videos in 0 runs; left out: 40 waiting for an earlier stage\n"
    counted, *lines = run_command("backfill", "--asset", "videos", *of_keys).stdout.splitlines()
    assert counted == "videos of project cyclists: 40 videos in 2 runs"
    assert [line.partition(",")[0] for line in lines] == ["run 1 of 2: 25 videos", "run 2 of 2: 15 videos"]
    with existing_instance(platform.layout.dagster_home) as instance:
        assert sorted(run.tags["videos"] for run in instance.get_runs()) == ["15", "25"]
        assert all(run.is_success for run in instance.get_runs())
    failed = [row.key for row in find_videos(platform.database, statuses={VideoStatus.FAILED, VideoStatus.UNAVAILABLE})]
    assert failed == keys
    frames, downloads = run_command("backfill", "--asset", "frames", *of_keys).stdout.splitlines()
    assert frames == "frames of project cyclists: 0 videos in 0 runs; left out: 40 failed at downloading"
    assert downloads.startswith("failed at downloading: 40 given up; `data-miner status --project cyclists --root ")
