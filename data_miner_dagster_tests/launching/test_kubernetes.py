"""Tests the Job that dagster-k8s creates for a run from this package's tags, settings file and chart values."""

import json
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster.catalog.migrations import initialize
from data_miner_dagster.config.cluster import ClusterConfig
from data_miner_dagster.config.loading import load_platform_config
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.jobs import is_ours
from data_miner_dagster.launching.agreement import check_launcher
from data_miner_dagster.launching.tags import run_tags
from data_miner_dagster.runs import end_dead_runs
from data_miner_dagster_tests.containers.kubernetes_files import FOLDER, launcher_config, problems_of_restricted

COORDINATOR = {"module": "data_miner_dagster.launching.coordinator", "class": "PooledRunCoordinator", "config": {}}
LAUNCHER = {"module": "dagster_k8s", "class": "K8sRunLauncher"}
IMAGE = "registry.example.org/data-miner-dagster:0.1.0-cuda"
JOBS = "/apis/batch/v1/namespaces/data-miner/jobs"


class Cluster(BaseHTTPRequestHandler):
    """The part of the Kubernetes API that the launcher uses, for one namespace."""

    made: ClassVar[dict[str, Any]] = {}
    failed: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.made[job["metadata"]["name"]] = job
        self._answer(201 if self.path == JOBS else 404, job)

    def do_GET(self) -> None:
        name = self.path.removeprefix(f"{JOBS}/").removesuffix("/status")
        status = {"failed": 1} if name in self.failed else {"active": 1}
        self._answer(200 if name in self.made else 404, {**self.made.get(name, {}), "status": status})

    def _answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Cluster) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        file = tmp_path_factory.mktemp("kube") / "config"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "a", "user": {"token": "x"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        }
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        yield str(file)
        server.shutdown()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kubeconfig: str) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_CONFIG", str(FOLDER / "platform.yaml"))
    config = {**launcher_config(), "load_incluster_config": False, "kubeconfig_file": kubeconfig}
    settings = {"run_coordinator": COORDINATOR, "run_launcher": {**LAUNCHER, "config": config}}
    with dg.instance_for_test(overrides=settings) as made:
        yield made


def submitted(instance: dg.DagsterInstance, job: str) -> dg.DagsterRun:
    """Submit a run of one of this package's jobs, from a code server in the image of the chart's values."""
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("data_miner_dagster"), "__repository__")
    code = RepositoryPythonOrigin(
        sys.executable,
        ModuleCodePointer("data_miner_dagster.definitions", "defs"),
        container_image=IMAGE,
        entry_point=["dagster"],
        container_context=None,  # includeConfigInLaunchedRuns is off
    )
    run = instance.create_run_for_job(
        defs.resolve_job_def(job),
        remote_job_origin=RemoteJobOrigin(place, job),
        job_code_origin=JobPythonOrigin(job, code),
    )
    instance.run_coordinator.submit_run(SubmitRunContext(run, None))  # type: ignore[arg-type]  # the queue needs none
    queued = instance.get_run_by_id(run.run_id)
    assert queued is not None
    return queued


def launched(instance: dg.DagsterInstance, job: str) -> dict[str, Any]:
    run = submitted(instance, job)
    instance.run_launcher.launch_run(LaunchRunContext(run, None))
    return dict(Cluster.made[f"dagster-run-{run.run_id}"])


@pytest.mark.parametrize(
    ("job", "requests", "limits"),
    [
        ("download_videos", {"cpu": "1", "memory": "2000000000"}, {"memory": "2000000000"}),
        ("extract_frames", {"cpu": "4", "memory": "6000000000"}, {"memory": "6000000000"}),
        (
            "detect_objects",
            {"cpu": "4", "memory": "16000000000", "nvidia.com/gpu": "1"},
            {"memory": "16000000000", "nvidia.com/gpu": "1"},
        ),
        ("release_dataset", {"cpu": "2", "memory": "4000000000"}, {"memory": "4000000000"}),
        ("prune_history", {"cpu": "1"}, {}),  # a job without a pool
    ],
)
def test_launch_run__the_pod_has_what_its_pool_asks_for(
    instance: dg.DagsterInstance,
    job: str,
    requests: dict[str, str],
    limits: dict[str, str],
) -> None:
    made = launched(instance, job)
    for version in ("1.31", "1.37"):
        kubernetes_validate.validate(made, version, strict=True)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == IMAGE
    assert container["resources"]["requests"] == requests
    assert container["resources"].get("limits", {}) == limits
    gpu_taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert pod.get("tolerations", []) == ([gpu_taint] if "nvidia.com/gpu" in requests else [])


def test_launch_run__the_pod_has_the_root_the_secrets_and_no_rights(instance: dg.DagsterInstance) -> None:
    made = launched(instance, "embed_frames")
    assert made["spec"]["backoffLimit"] == 0  # no retries: this package requests a dead run's remaining work again
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert problems_of_restricted(pod) == []
    assert pod["automountServiceAccountToken"] is False
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/settings", "/dev/shm"}
    assert {"name": "root", "persistentVolumeClaim": {"claimName": "data-miner-root"}} in pod["volumes"]
    named = [reference for entry in container["envFrom"] for reference in entry.values()]
    assert [entry["name"] for entry in named] == ["data-miner-environment", "data-miner-databases", "data-miner-runs"]
    by_name = {variable["name"]: variable for variable in container["env"]}
    assert by_name["DAGSTER_HOME"]["value"] == "/dagster"
    assert by_name["DAGSTER_PG_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "data-miner-postgresql"
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    assert made["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "run_worker"


def test_launch_run__a_selector_of_nodes(instance: dg.DagsterInstance) -> None:
    wanted = {"cpus": 2, "node_selector": {"disk": "fast"}, "tolerations": ["team=vision:NoExecute", "spot"]}
    cluster = ClusterConfig.model_validate({"launcher": "kubernetes", "pools": {"extract": wanted}})
    run = submitted(instance, "extract_frames")
    instance.run_launcher.launch_run(LaunchRunContext(run.with_tags(run_tags(cluster, "extract")), None))
    pod = Cluster.made[f"dagster-run-{run.run_id}"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert pod["tolerations"] == [
        {"key": "team", "operator": "Equal", "value": "vision", "effect": "NoExecute"},
        {"key": "spot", "operator": "Exists"},
    ]


def test_end_dead_runs__a_pod_that_died_while_it_started(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    dead, waiting = (submitted(instance, "download_videos") for _ in range(2))
    for run in (dead, waiting):
        instance.run_launcher.launch_run(LaunchRunContext(run, None))
        starting = dg.DagsterEvent(dg.DagsterEventType.RUN_STARTING.value, job_name=run.job_name)
        instance.report_dagster_event(starting, run.run_id)
    Cluster.failed.add(f"dagster-run-{dead.run_id}")
    database = Database(sqlite_url(tmp_path / "catalog.sqlite"))
    initialize(database)
    assert end_dead_runs(instance, database, is_ours=is_ours, idle_limit=timedelta(hours=1)) == [dead.run_id]
    ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert ended.tags["data_miner/not_launched"] == "the run failed while it was starting: K8s job failed"
    database.dispose()


def test_check_launcher__agrees_with_the_values_and_the_settings(instance: dg.DagsterInstance) -> None:
    check_launcher(load_platform_config(FOLDER / "platform.yaml").cluster, instance)


def test_check_launcher__where_kubernetes_cannot_be_asked_is_one_line() -> None:
    settings = {"run_coordinator": COORDINATOR, "run_launcher": {**LAUNCHER, "config": launcher_config()}}
    with (
        dg.instance_for_test(overrides=settings) as outside,
        pytest.raises(ConfigError, match="start it in a pod of the cluster, or set") as raised,
    ):
        check_launcher(ClusterConfig(launcher="kubernetes"), outside)
    assert "\n" not in str(raised.value)
