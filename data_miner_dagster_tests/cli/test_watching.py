"""`data-miner status --watch` on a real root ends on its own once nothing is due."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from data_miner_dagster.catalog.attempts import record_attempt
from data_miner_dagster.catalog.projects import mark_sourced, update_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.videos import delete_videos
from data_miner_dagster.cli import watching
from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.storage.root_lock import take_root_lock
from data_miner_dagster_tests.support.catalog import add_project, add_video
from data_miner_dagster_tests.support.local_projects import make_platform


def test_status_watch__nothing_to_do(tmp_path: Path) -> None:
    make_platform(tmp_path).database.dispose()
    result = CliRunner().invoke(app, ["--root", str(tmp_path), "status", "--watch"])
    assert result.exit_code == 0, result.output
    assert result.output.endswith("Z no work is due or in progress\n")


def test_status_watch__until_nothing_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")
    add_video(platform.database, "a", "bikes", status=VideoStatus.DOWNLOADED, sha256="a", duration_seconds=60)
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        delete_videos(platform.database, ["a"], only_unwanted=False)

    monkeypatch.setattr(watching, "time", SimpleNamespace(sleep=sleep))  # only in this module: threads sleep elsewhere
    result = CliRunner().invoke(app, ["--root", str(tmp_path), "status", "--watch", "--interval", "0.5"])
    assert result.exit_code == 0, result.output
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.partition("Z ")[2] for line in result.output.splitlines()]
    assert lines == [
        "bikes: 1 video to go: 0 %",
        f"bikes: finding and preparing videos; `data-miner up --root {tmp_path}` or `data-miner run --config FILE "
        f"--root {tmp_path}` continues the build",
        "no work is due or in progress",
    ]
    assert sleeps == [0.5]


def test_status_watch__a_project_between_two_runs_of_up_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")  # its file is registered, but its sources are not listed yet
    lock = take_root_lock(platform.layout.up_lock)
    monkeypatch.setattr("data_miner_dagster.cli.watching.time", SimpleNamespace(sleep=lambda _: os.close(lock)))
    result = CliRunner().invoke(app, ["--root", str(tmp_path), "status", "--watch"])
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.partition("Z ")[2] for line in result.output.splitlines()]
    assert lines[0] == "bikes: finding and preparing videos"  # watching continues while `up` runs
    assert lines[-1] == "no work is due or in progress"  # `up` has ended
    assert len(lines) == 3


def test_status_watch__beside_up_looks_twice_since_a_file_may_just_have_been_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = make_platform(tmp_path)
    platform.database.dispose()  # the catalog exists and is empty
    lock = take_root_lock(platform.layout.up_lock)
    sleeps: list[float] = []

    def drop(seconds: float) -> None:
        if not sleeps:
            add_project(platform.database, "bikes")
        elif len(sleeps) == 1:
            with platform.database.transaction() as session:
                session.get_one(ProjectRow, "bikes").stage = ProjectStage.COMPLETE
        sleeps.append(seconds)

    monkeypatch.setattr("data_miner_dagster.cli.watching.time", SimpleNamespace(sleep=drop))
    result = CliRunner().invoke(app, ["--root", str(tmp_path), "status", "--watch", "--interval", "7"])
    os.close(lock)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.partition("Z ")[2] for line in result.output.splitlines()]
    assert lines[0].startswith("no work is due yet; `data-miner up` reads its folder")
    assert lines[1] == "bikes: finding and preparing videos"
    assert lines[2] == lines[0]
    assert lines[3:] == ["no work is due or in progress"]
    assert sleeps == [7.0, 7.0, 7.0]


def test_telling_standing__prints_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")
    add_video(platform.database, "a", "bikes", status=VideoStatus.DOWNLOADED, sha256="a", duration_seconds=60)
    monkeypatch.setattr(watching, "_LINES_SECONDS", 0.01)
    told: list[str] = []
    is_told = threading.Event()

    def echo(line: str) -> None:
        told.append(line)
        is_told.set()

    monkeypatch.setattr(watching, "echo", echo)
    with watching.telling_standing(platform):
        assert is_told.wait(120)
    assert set(told) == {"bikes: 1 video to go: 0 %"}


def test_changes__one_line_a_change_and_none_twice(tmp_path: Path) -> None:
    platform = make_platform(tmp_path)
    add_project(platform.database, "bikes")
    changes = watching.Changes(platform)
    assert changes.look() == []
    add_video(platform.database, "a", "bikes")
    with platform.database.transaction() as session:
        mark_sourced(session, "bikes", "hash")
    assert changes.look() == ["bikes: 1 video listed"]
    with platform.database.transaction() as session:
        move_project(session, "bikes", ProjectStage.FILTERING)
    assert changes.look() == ["bikes: at filtering"]
    failure = Failure(FailureKind.SETTINGS, "no such class", run_id="1a2b3c4d-5e6f")
    with platform.database.transaction() as session:
        move_project(session, "bikes", ProjectStage.FAILED, error="detection: no such class")
        record_attempt(session, WorkStage.DETECTION, "bikes", failure, None)
    (line,) = changes.look()
    assert line.startswith("bikes: detection failed: no such class (run 1a2b3c4d); it waits until something changes: ")
    assert changes.look() == []
    assert watching.Changes(platform).look() == [line]  # a halted project is also reported at the start
    update_project(platform.database, "bikes", released_version="v001")
    assert changes.look() == [f"bikes: v001 released → {platform.layout.report_page('bikes')}"]
