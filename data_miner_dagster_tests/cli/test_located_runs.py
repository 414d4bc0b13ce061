"""Runs started by commands, as Dagster's timeline and job pages query them."""

from pathlib import Path

import dagster as dg
from dagster._core.test_utils import create_run_for_test, instance_for_test

from data_miner_dagster.cli.located_runs import locate_run
from data_miner_dagster.sensors.lost_work import run_of_batch


def test_locate_run__the_ui_finds_it_by_location_and_job(tmp_path: Path) -> None:
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        run = create_run_for_test(
            instance, "filter_frames", status=dg.DagsterRunStatus.SUCCESS, tags={"project": "street"}
        )
        for _ in range(2):
            locate_run(instance, run.run_id)
        label = {".dagster/repository": "__repository__@data_miner_dagster"}
        (found,) = instance.get_runs(dg.RunsFilter(job_name="filter_frames", tags=label))
        assert found.run_id == run.run_id
        assert found.status is dg.DagsterRunStatus.SUCCESS
        assert found.tags["project"] == "street"
        assert found.remote_job_origin is not None
        assert found.remote_job_origin.location_name == "data_miner_dagster"
        assert found.remote_job_origin.job_name == "filter_frames"


def test_run_of_batch__finds_runs_that_an_earlier_version_queued(tmp_path: Path) -> None:
    with instance_for_test(temp_dir=str(tmp_path)) as instance:
        now = create_run_for_test(instance, tags={".dagster/data_miner_batch": "7"})
        before = create_run_for_test(instance, tags={"data_miner/batch": "8"})
        found = [run_of_batch(instance, number) for number in (7, 8, 9)]
        assert [run.run_id if run is not None else None for run in found] == [now.run_id, before.run_id, None]
