"""Tests of the launcher without a cluster. data_miner_dagster_tests/clusters tests it on one."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.launcher import LaunchRunContext
from dagster._core.launcher.base import WorkerStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import ConfigError, TransientError
from data_miner_dagster.launching.ray_jobs import RayRunLauncher, _command_of, _in_a_line
from data_miner_dagster_tests.end_to_end.platform_process import free_port


@contextmanager
def launcher_of(**ray: object) -> Iterator[RayRunLauncher]:
    launcher = {"module": "data_miner_dagster.launching.ray_jobs", "class": "RayRunLauncher", "config": {"ray": ray}}
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        made = instance.run_launcher
        assert isinstance(made, RayRunLauncher)
        yield made


def started_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("data_miner_dagster"), "__repository__")
    job = defs.resolve_job_def("download_videos")
    origin = cast("Any", dg.reconstructable(_job)).get_python_origin()
    return instance.create_run_for_job(
        job, status=status, tags=tags, remote_job_origin=RemoteJobOrigin(place, job.name), job_code_origin=origin
    )


@dg.job
def _job() -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "run_launcher.config.ray.address in dagster.yaml is missing"),
        ({"address": "ray://head:10001"}, "is ray://head:10001; set it to the http address of Ray's dashboard"),
        (
            {"address": "http://head:8265", "env_vars": ["DATA_MINER_CATALOG_URL"]},
            "env_vars in dagster.yaml contains DATA_MINER_CATALOG_URL, which Ray would show",
        ),
        (
            {"address": "http://head:8265", "env_vars": ["SITE_PASSWORD=x"]},
            "env_vars in dagster.yaml contains SITE_PASSWORD",
        ),
    ],
)
def test_launcher__bad_settings_are_one_line(settings: Mapping[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as raised, launcher_of(**settings):
        pass
    assert "\n" not in str(raised.value)
    assert "=x" not in str(raised.value)


def test_launcher__passes_on_where_the_root_is_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_ROOT", "/shared/root")
    monkeypatch.setenv("DATA_MINER_CATALOG_URL", "postgresql+psycopg2://me:secret@db/catalog")
    monkeypatch.delenv("DATA_MINER_CONFIG", raising=False)
    monkeypatch.delenv("DATA_MINER_PROFILE", raising=False)
    with launcher_of(address="http://head:8265", env_vars=["HF_HUB_OFFLINE=1"]) as launcher:
        assert launcher.env_vars == ["DATA_MINER_ROOT", "DAGSTER_HOME", "HF_HUB_OFFLINE=1"]


def test_launcher__resumes_nothing_since_undone_work_is_requested_again() -> None:
    with launcher_of(address="http://head:8265") as launcher:
        assert not launcher.supports_resume_run


def test_launch_run__a_cluster_that_is_away_is_one_line_on_the_run() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with launcher_of(address=address) as launcher:
        instance = launcher._instance
        run = started_run(instance, dg.DagsterRunStatus.STARTING)
        with pytest.raises(TransientError) as raised:
            launcher.launch_run(LaunchRunContext(run, None))
        line = str(raised.value)
        assert line.startswith(f"the Ray cluster at {address} does not accept runs (")
        assert "\n" not in line
        current = instance.get_run_by_id(run.run_id)
        assert current is not None
        assert current.tags["data_miner/not_launched"] == line


@pytest.mark.parametrize(
    ("status", "health"),
    [(dg.DagsterRunStatus.STARTED, WorkerStatus.RUNNING), (dg.DagsterRunStatus.STARTING, WorkerStatus.NOT_FOUND)],
)
def test_check_run_worker_health__where_ray_does_not_answer_the_lease_decides(
    status: dg.DagsterRunStatus, health: WorkerStatus
) -> None:
    with launcher_of(address=f"http://127.0.0.1:{free_port()}") as launcher:
        run = started_run(launcher._instance, status)
        assert launcher.check_run_worker_health(run).status is health


def test_terminate__where_ray_does_not_answer_the_run_is_being_cancelled() -> None:
    with launcher_of(address=f"http://127.0.0.1:{free_port()}") as launcher:
        run = started_run(launcher._instance, dg.DagsterRunStatus.STARTED)
        assert not launcher.terminate(run.run_id)
        current = launcher._instance.get_run_by_id(run.run_id)
        assert current is not None
        assert current.status is dg.DagsterRunStatus.CANCELING


def test_command_of__a_run_computes_with_as_many_threads_as_without_ray() -> None:
    with launcher_of(address="http://head:8265") as launcher:
        run = started_run(launcher._instance, dg.DagsterRunStatus.STARTING)
    assert _command_of(run, keeps_threads=False).startswith(f"env -u OMP_NUM_THREADS {sys.executable} -m dagster api ")
    assert _command_of(run, keeps_threads=True).startswith(f"{sys.executable} -m dagster api execute_run ")


def test_in_a_line__how_a_job_ended_and_its_last_words() -> None:
    failed = (
        "Job entrypoint command failed with exit code 127, last available logs (truncated to 20,000 chars):\n"
        "2026-11-28 17:41:41,202\tINFO job_manager.py:581 -- Runtime env is setting up.\n"
        "Running entrypoint for job dagster-run-1: secret-less but long\n/bin/sh: 1: dagster: not found\n"
    )
    assert _in_a_line(failed) == "Job entrypoint command failed with exit code 127: /bin/sh: 1: dagster: not found"
    assert _in_a_line("Job finished successfully.") == "Job finished successfully."
    assert _in_a_line("") == ""


def test_launcher__without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "data_miner_dagster.launching.ray_jobs"
    monkeypatch.setitem(sys.modules, "dagster_ray", None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"pip install 'data-miner-dagster\[ray\]'"), launcher_of(address="http://x"):
        pass
