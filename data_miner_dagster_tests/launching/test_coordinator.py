"""Tests that every queued run has the tags of the resources that it requests, whatever queued it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.jobs import JOBS
from data_miner_dagster.partitions import PROJECTS, VIDEOS

COORDINATOR = {"module": "data_miner_dagster.launching.coordinator", "class": "PooledRunCoordinator"}
SETTINGS = """\
platform:
  cluster:
    launcher: ray
    pools:
      download: {cpus: 3, custom_resources: {line: 1}}
      inference: {cpus: 2, gpus: 1}
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides={"run_coordinator": {**COORDINATOR, "config": {}}}) as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(SETTINGS)
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_CONFIG", str(file))


def submitted(instance: dg.DagsterInstance, job: str, tags: Mapping[str, str] | None = None) -> dg.DagsterRun:
    return submitted_definition(instance, defs.resolve_job_def(job), tags or {})


def submitted_definition(instance: dg.DagsterInstance, job: dg.JobDefinition, tags: Mapping[str, str]) -> dg.DagsterRun:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("data_miner_dagster"), "__repository__")
    run = instance.create_run_for_job(job, tags=dict(tags), remote_job_origin=RemoteJobOrigin(place, job.name))
    instance.run_coordinator.submit_run(SubmitRunContext(run, cast("Any", None)))
    queued = instance.get_run_by_id(run.run_id)
    assert queued is not None
    assert queued.status is dg.DagsterRunStatus.QUEUED
    return queued


def asked(run: dg.DagsterRun) -> dict[str, object]:
    return cast("dict[str, object]", json.loads(run.tags["dagster-ray/config"]))


@pytest.mark.usefixtures("settings")
def test_submit_run__each_job_asks_for_what_its_pool_needs(instance: dg.DagsterInstance) -> None:
    wanted = {
        "download_videos": {"num_cpus": 3, "resources": {"line": 1}},
        "embed_frames": {"num_cpus": 2, "num_gpus": 1},
        "detect_objects": {"num_cpus": 2, "num_gpus": 1},
        "release_dataset": {"num_cpus": 1},
        "prune_history": {"num_cpus": 1},
    }
    assert {job: asked(submitted(instance, job)) for job in wanted} == wanted
    assert set(JOBS) >= set(wanted) - {"prune_history"}


@pytest.mark.usefixtures("settings")
def test_submit_run__of_assets_that_were_chosen_in_the_ui(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions(str(VIDEOS.name), ["a"])
    instance.add_dynamic_partitions(str(PROJECTS.name), ["p"])
    chosen = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey("videos"), dg.AssetKey("frame_embeddings")}
    )
    run = submitted_definition(instance, chosen, {"dagster/partition": "a"})
    assert asked(run) == {"num_cpus": 3, "num_gpus": 1, "resources": {"line": 1}}


@pytest.mark.usefixtures("settings")
def test_submit_run__a_tag_by_hand_stays_and_one_of_an_earlier_run_does_not(instance: dg.DagsterInstance) -> None:
    by_hand = submitted(instance, "download_videos", {"dagster-ray/config": '{"num_cpus": 7}'})
    assert asked(by_hand) == {"num_cpus": 7}
    earlier = {"dagster-ray/config": '{"num_cpus": 7}', "data_miner/asks_for": "7 CPU"}
    assert asked(submitted(instance, "download_videos", earlier)) == {"num_cpus": 3, "resources": {"line": 1}}


def test_submit_run__on_this_machine_nothing_is_added(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path))
    assert not [tag for tag in submitted(instance, "download_videos").tags if "dagster-" in tag or "asks" in tag]


def test_submit_run__without_settings_is_refused(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATA_MINER_ROOT", raising=False)
    monkeypatch.delenv("DATA_MINER_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="set one of them for Dagster's web server and daemon"):
        submitted(instance, "download_videos")


def test_submit_run__a_root_remembers(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "platform.json").write_text('{"cluster": {"launcher": "ray", "pools": {"download": {"cpus": 5}}}}')
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path))
    assert asked(submitted(instance, "download_videos")) == {"num_cpus": 5}
