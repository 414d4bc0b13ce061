"""Runs that a person starts and cancels, with a real code server and process, and a site that never ends a response."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from data_miner_dagster.catalog.batches import open_batches, take_batch
from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.holds import CANCELLED, find_holds
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.cli.dagster_runs import cancel_batches
from data_miner_dagster.cli.wanted_runs import ask_for, has_daemon, open_workspace, runs_of_videos
from data_miner_dagster.config.environment import CONFIG_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sensors.lost_work import end_lost_work
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.end_to_end.commands import write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.sites import hostile_server as hostile
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.local_projects import add_project

pytestmark = pytest.mark.slow(12)

DOWNLOADING = WorkStage.DOWNLOADING


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with hostile.hostile_server() as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path, server: HostileServer) -> Platform:
    """Return a platform with a project of 60 videos, whose site sends only a byte now and then."""
    downloading = {"allowed_private_hosts": ["127.0.0.1"]}
    content = {"platform": {"models": {"profile": "lite"}, "downloading": downloading}}
    config = write_yaml(tmp_path / "platform.yaml", content)
    os.environ |= {ROOT_VARIABLE: str(tmp_path / "root"), CONFIG_VARIABLE: str(config)}  # restored by conftest
    platform = open_platform()
    add_project(platform, [{"type": "urls", "urls": [server.url("/")]}], name="slow")
    for number in range(60):
        url = server.add(f"/{number}.mp4", hostile.slow_loris())
        add_video(platform.database, f"generic-{number:02d}", "slow", url=url)
    return platform


def test_ask_for__a_list_of_keys_that_somebody_cancels(platform: Platform, run_command: RunCommand) -> None:
    scattered = [f"generic-{number:02d}" for number in range(60) if number % 3 != 1]
    runs = runs_of_videos(DOWNLOADING, scattered, force=False)
    assert [len(run.items) for run in runs] == [25, 15]
    with open_instance(platform) as instance, open_workspace(instance) as workspace:
        assert not has_daemon(instance)
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "QUEUED_RUN_COORDINATOR", None, None))
        assert has_daemon(instance)
        first, second = (ask_for(platform, workspace, "slow", run) for run in runs)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.QUEUED}
        instance.launch_run(first, workspace.context)
        wait_for("four downloads", lambda: True if len(live_claims(platform.database)) == 4 else None, timeout=300)
        (waiting,) = [batch.id for batch in open_batches(platform.database) if batch.run_id is None]
        told = list(cancel_batches(platform, {waiting: None}))  # as `pause --cancel` does; its videos are not held
        assert told == [f"run {second[:8]} (download_videos) is no longer running"]
        assert instance.run_coordinator.cancel_run(first)  # as the UI does
        wait_for("the cancelled run", lambda: _status_if_over(instance, first), timeout=300, every=0.1)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.CANCELED}
        end_lost_work(lambda: instance, platform)
    held = find_holds(platform.database)
    assert {(row.stage, row.project, row.reason) for row in held} == {(DOWNLOADING, None, CANCELLED)}
    assert sorted(str(row.video_key) for row in held) == scattered[:25]
    assert {(row.status, row.error) for row in find_videos(platform.database)} == {(VideoStatus.PENDING, None)}
    assert live_claims(platform.database) == []
    free = take_batch(platform.database, DOWNLOADING, max_items=60, must_be_full_until_seconds=0)
    assert free is not None
    assert len(free.items) == 35  # all others can be downloaded
    assert run_command("resume", "--project", "slow").stdout.startswith("project slow: 25 holds ended")
    again = take_batch(platform.database, DOWNLOADING, max_items=60, must_be_full_until_seconds=0)
    assert again is not None
    assert list(again.items) == scattered[:25]


def _status_if_over(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus | None:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status if run.is_finished else None
