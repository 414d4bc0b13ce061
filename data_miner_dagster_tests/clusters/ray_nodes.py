"""A Ray cluster on this machine: a head that executes nothing, and nodes with given resources, which can be killed.

The catalog sees each node as a host of its own, so only the lease of a run shows whether the run is alive.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from data_miner_dagster_tests.clusters import marked
from data_miner_dagster_tests.end_to_end.commands import CHECKOUT
from data_miner_dagster_tests.end_to_end.platform_process import free_port, wait_for

_OBJECT_STORE_BYTES: Final = 80_000_000  # the least that Ray accepts
_ATTEMPTS: Final = 12
"""A start fails if a port has been taken since, or if the raylet's agent is not up within 15 s on a busy machine."""
_NODE_PATH: Final = Path(__file__).parent / "node_path"
_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # workers that are started in advance would occupy a core
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # the death of a node is noticed within seconds, unless the machine is too busy to answer
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
    # on a busy machine, Ray would give up on its own processes after half a minute
    "RAY_raylet_start_wait_time_s": "40",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_gcs_server_port_wait_time_s": "120",
    # metrics and events that nobody reads
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A node and its resources. `mark` is in the environment of each of its processes."""

    name: str
    cpus: int
    gpus: int = 0
    resources: Mapping[str, int] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: f"DATA_MINER_TEST_NODE_ID={uuid.uuid4().hex}")

    def has_all_of(self, other: "Node") -> bool:
        """Return whether this node has at least the resources of another one."""
        own, wanted = ({**node.resources, "CPU": node.cpus, "GPU": node.gpus} for node in (self, other))
        return all(own.get(name, 0) >= amount for name, amount in wanted.items())


class RayCluster:
    """A cluster whose head and nodes can be started and killed repeatedly.

    `environment` has the variables of all their processes, none of which outlives this process, however it ends.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name, value = "DATA_MINER_TEST_CLUSTER_ID", uuid.uuid4().hex
        self._environment = {**environment, **_QUIET, name: value}
        self._reaper = marked.start_reaper(f"{name}={value}")
        self._folder = Path(tempfile.mkdtemp(prefix="dmr_", dir="/tmp"))  # socket paths are limited to 107 characters
        self._port, self._dashboard_port = 0, free_port()
        self._head: Node | None = None
        self._is_closed = False
        self.nodes: list[Node] = []

    @property
    def address(self) -> str:
        """The address of the dashboard, which accepts jobs."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    def start_head(self) -> None:
        """Start the head, which accepts jobs only some seconds later; `start_nodes` waits for that."""
        self._head = Node("head", 0)
        self._port = free_port()  # a new port each time: Ray refuses one that nodes on this machine already know
        ports = ("--port", str(self._port), "--dashboard-port", str(self._dashboard_port))
        client = ("--ray-client-server-port", str(free_port()))
        dashboard = ("--dashboard-host", "127.0.0.1", "--include-dashboard", "true", "--no-monitor")
        self._ray_start(self._head, "--head", *ports, *client, *dashboard, "--temp-dir", str(self._folder))

    def start_nodes(self, nodes: Sequence[Node]) -> None:
        """Start nodes at the same time, and wait until they have joined and the head accepts jobs."""
        with ThreadPoolExecutor(len(nodes)) as pool:
            list(pool.map(lambda node: self._ray_start(node, "--address", f"127.0.0.1:{self._port}"), nodes))
        self.nodes += nodes
        wait_for("the head", self._answers, timeout=600, every=0.3)

    def _ray_start(self, node: Node, *arguments: str) -> None:
        ports = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port")
        options = [
            *("--num-cpus", str(node.cpus), "--num-gpus", str(node.gpus), "--resources", json.dumps(node.resources)),
            *("--node-ip-address", "127.0.0.1", "--object-store-memory", str(_OBJECT_STORE_BYTES)),
            *("--min-worker-port", "0", "--max-worker-port", "0", "--disable-usage-stats", "--log-color", "false"),
            *("--include-log-monitor", "false", "--metrics-export-port", str(free_port())),
            *(part for name in ports for part in (name, str(free_port()))),
        ]
        name, _, value = node.mark.partition("=")
        paths = os.pathsep.join((str(_NODE_PATH), self._environment.get("PYTHONPATH", str(CHECKOUT))))
        environment = {**self._environment, name: value, "DATA_MINER_TEST_NODE": node.name, "PYTHONPATH": paths}
        command = [str(Path(sys.executable).with_name("ray")), "start", *arguments, *options]
        for _ in range(_ATTEMPTS):
            started = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
            if started.returncode == 0 and not self._is_closed:
                return
            marked.kill_marked(node.mark)
            if self._is_closed:
                break
        told = f"{started.stdout[-1000:]} {started.stderr[-1000:]} {self._last_words()}"
        raise AssertionError(f"{node.name} does not start: {told}")

    def _last_words(self) -> str:
        logs = sorted(self._folder.glob("session_2*/logs/raylet*"), key=lambda path: path.stat().st_mtime)
        return " ".join(path.read_text(errors="replace")[-1000:] for path in logs[-2:])

    def _answers(self) -> bool | None:
        return True if self.get("/api/version") is not None else None

    def get(self, path: str) -> Any | None:
        """Return the dashboard's response, or None if it does not respond."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as response:
                return json.load(response)
        except OSError:
            return None

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs that the head knows, or none if it does not respond."""
        return list(self.get("/api/jobs/") or ())

    def kill(self, node: Node) -> None:
        """Kill all processes of a node, as a power cut would."""
        marked.kill_marked(node.mark)
        self.nodes.remove(node)

    def kill_head(self) -> None:
        """Kill all processes of the head, as a power cut would."""
        assert self._head is not None
        marked.kill_marked(self._head.mark)
        self._head = None

    def close(self) -> None:
        """Kill everything, and prevent further starts."""
        self._is_closed = True
        self._reaper.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)
