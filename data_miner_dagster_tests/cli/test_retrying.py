from pathlib import Path

import pytest

from data_miner_dagster.catalog.holds import CANCELLED, find_holds, hold_items
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.catalog.work_tables import AttemptRow, StageGateRow, SuspectRow
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.work import FailureScope, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.catalog import FOUND_AT
from data_miner_dagster_tests.support.sample_project import build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="extraction")


def test_retry__nothing_to_retry(run_command: RunCommand, tmp_path: Path) -> None:
    build_project(tmp_path, videos=(), through="sourcing")
    assert run_command("retry", "--root", tmp_path).stdout.startswith("0 videos will be retried")


def test_retry__by_kind_and_key(run_command: RunCommand, platform: Platform) -> None:
    def retried(*options: str) -> str:
        return run_command("retry", "--root", platform.root, *options).stdout

    assert retried("--kind", "private").startswith("0 videos")
    assert retried("files-aaa").startswith("0 videos")
    assert retried("--kind", "private", "--kind", "undecodable").startswith("files-ddd\n1 video will")
    video = find_video(platform.database, "files-ddd")
    assert video is not None
    assert video.status is VideoStatus.DOWNLOADED
    with pytest.raises(ConfigError, match=r"--kind 'privat' is not a kind; did you mean 'private'\?"):
        retried("--kind", "privat")
    with pytest.raises(ConfigError, match="project 'nobody' does not exist"):
        retried("--project", "nobody")


def test_retry__a_failed_stage_of_a_project(run_command: RunCommand, platform: Platform) -> None:
    with platform.database.transaction() as session:
        move_project(session, "cyclists", ProjectStage.FILTERING)
        move_project(session, "cyclists", ProjectStage.FAILED, error="filtering: the disk is full")
        session.add(_attempt(WorkStage.FILTERING, "cyclists"))
        session.add(_attempt(WorkStage.EMBEDDING, "files-aaa"))
        session.add(SuspectRow(stage=WorkStage.EMBEDDING, item="files-bbb", batch_id=1, size=2, num_deaths=1))
    root = ["--root", platform.root]
    assert run_command("retry", "--stage", "detection", *root).stdout.startswith("0 videos will")
    told = run_command("retry", "--stage", "filtering", "--dry-run", *root).stdout
    assert told == "cyclists\n0 videos and 1 project would be retried\n"
    assert run_command("retry", "--project", "cyclists", "--stage", "filtering", *root).stdout.startswith(
        "cyclists\n0 "
    )
    row = find_project(platform.database, "cyclists")
    assert row is not None
    assert (row.stage, row.error) == (ProjectStage.SOURCING, None)
    told = run_command("retry", "--stage", "embedding", *root).stdout
    assert told.startswith("files-aaa\nfiles-bbb\n2 videos will")
    with platform.database.reading() as session:
        assert session.query(SuspectRow).count() == 0
        left = [(row.stage, row.item) for row in session.query(AttemptRow)]
    assert left == [(WorkStage.EXTRACTION, "files-ddd")]  # no command named this video


def test_retry__what_was_cancelled_and_what_is_held(run_command: RunCommand, platform: Platform) -> None:
    hold_items(platform.database, stage=WorkStage.EXTRACTION, video_keys=["files-aaa", "files-bbb"], reason=CANCELLED)
    hold_items(platform.database, project="cyclists", reason="paused by hand")
    with platform.database.transaction() as session:
        session.add(
            StageGateRow(
                stage=WorkStage.EXTRACTION, closed_at=FOUND_AT, closed_until=FOUND_AT, kind="disk_full", reason="full"
            )
        )
    told = run_command("retry", "--root", platform.root)
    assert "; 2 holds ended; stages that no longer wait for an outage to pass: extraction\n" in told.stdout
    assert told.stderr.startswith("still: project cyclists has been held since ")
    assert "1 hold ended" in run_command("retry", "--project", "cyclists", "--root", platform.root).stdout
    assert find_holds(platform.database) == []


def _attempt(stage: WorkStage, item: str) -> AttemptRow:
    values = {"kind": "failed", "message": "why", "version": "1", "failed_at": FOUND_AT}
    return AttemptRow(stage=stage, item=item, scope=FailureScope.ITEM, **values)
