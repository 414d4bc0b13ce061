"""Test the job that runs once a day, as Dagster runs it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from data_miner_dagster.config.environment import ROOT_VARIABLE
from data_miner_dagster.definitions import defs
from data_miner_dagster.housekeeping import PRUNE_HISTORY
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource
from data_miner_dagster_tests.support.sample_project import build_project

CHECKS_OF_VIDEOS = {
    "videos": "every_video_has_its_file",
    "frames": "every_video_has_its_frames",
    "frame_embeddings": "every_video_has_its_embeddings",
}


def test_prune_history__old_runs_and_keys_of_deleted_projects_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_project(tmp_path / "root", through="sourcing")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "root"))
    job = defs.resolve_job_def(PRUNE_HISTORY)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions(str(PROJECTS.name), ["cyclists", "gone"])
        create_run_for_test(instance, status=dg.DagsterRunStatus.SUCCESS, tags={"data_miner/batch": "1"})
        young = job.execute_in_process(instance=instance)
        assert len(instance.get_runs()) == 2
        config = {"ops": {"prune": {"config": {"older_than_days": 0}}}}
        done = job.execute_in_process(instance=instance, run_config=config)
        assert young.success
        assert done.success
        said = [entry.user_message for entry in instance.all_logs(done.run_id) if entry.level == 20]
        for asset, name in CHECKS_OF_VIDEOS.items():
            (last,) = instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(asset), name), limit=1
            )
            assert last.status.value == "SUCCEEDED"  # evaluated once a day, for all videos
        assert instance.get_dynamic_partitions(str(PROJECTS.name)) == ["cyclists"]
        assert said[0] == "removed 0 partitions of deleted videos and projects; 0 more are still in use"
        assert said[1].startswith("removed 2 runs with ")
        assert [run.run_id for run in instance.get_runs()] == [done.run_id]


def test_housekeeping__asks_once_a_day_where_there_is_something_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_project(tmp_path / "root", through="sourcing")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "root"))

    def asked(instance: dg.DagsterInstance, in_hours: float) -> str | None:
        at = datetime.now(UTC) + timedelta(hours=in_hours)
        given = {"platform": PlatformResource()}
        with dg.build_schedule_context(instance, at, resources=given) as context:
            answer = defs.get_repository_def().get_schedule_def("housekeeping").evaluate_tick(context)
        assert len(answer.run_requests or []) <= 1
        return answer.skip_message if not answer.run_requests else answer.run_requests[0].run_key

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert asked(instance, 0) == "removed 0 old ticks"
        create_run_for_test(instance, status=dg.DagsterRunStatus.SUCCESS)
        assert asked(instance, 23) == "removed 0 old ticks"
        assert str(asked(instance, 25)).startswith("prune_history:")
        create_run_for_test(instance, job_name=PRUNE_HISTORY, status=dg.DagsterRunStatus.SUCCESS)
        assert asked(instance, 23) == "removed 0 old ticks"
        assert str(asked(instance, 25)).startswith("prune_history:")
