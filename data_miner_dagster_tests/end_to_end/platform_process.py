"""A running `data-miner up`, used as its users use it: through files, HTTP, GraphQL and signals."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data_miner_dagster_tests.end_to_end.commands import CHECKOUT, command, environment

_T = TypeVar("_T")


def free_port() -> int:
    """Return a free port of 127.0.0.1 from outside the range that the kernel assigns to outgoing connections.

    The server that will listen on the port takes seconds to start. By then, the kernel may have reused a port that it
    assigns itself.
    """
    first_given_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(first_given_out - 20_000, first_given_out)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(what: str, look: Callable[[], _T | None], *, timeout: float, every: float = 1.0) -> _T:
    """Return the first answer of `look` that is not None.

    Raises:
        AssertionError: `look` returned only None for `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (answer := look()) is not None:
            return answer
        time.sleep(every)
    raise AssertionError(f"waited {timeout:.0f} s for {what}")


class Dagster:
    """A Dagster web server for a root, queried with GraphQL. Subclasses start and stop it."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.project_files = root / "project_files"
        self.address = f"http://127.0.0.1:{port}"

    def check_alive(self) -> None:
        """Raise AssertionError with the log if a process has ended."""
        raise NotImplementedError

    def wait_until_loaded(self) -> None:
        """Wait until the web server has loaded the code location."""
        wait_for("the web server", self._location_is_loaded, timeout=600)

    def _location_is_loaded(self) -> bool | None:
        self.check_alive()
        try:
            answer = self.graphql(
                "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }"
            )
        except OSError:
            return None
        return True if answer["repositoriesOrError"].get("nodes") else None

    def graphql(self, query: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Send a GraphQL query and return the data of the answer.

        Raises:
            AssertionError: the answer contains errors.
        """
        request = urllib.request.Request(
            f"{self.address}/graphql",
            data=json.dumps({"query": query, "variables": dict(variables or {})}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        return dict(answer["data"])

    def launch_backfill(self, assets: Sequence[str], keys: Sequence[str]) -> str:
        """Launch an asset backfill as the UI does, and return its id."""
        launched = self.graphql(
            "mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) "
            "{ __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
            {"params": {"assetSelection": [{"path": [name]} for name in assets], "partitionNames": list(keys)}},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def wait_for_backfill(self, backfill_id: str, *, timeout: float = 900) -> str:
        """Wait until a backfill ends, and return its final status."""

        def ended() -> str | None:
            answer = self.graphql(
                "query ($id: String!) { partitionBackfillOrError(backfillId: $id) "
                "{ ... on PartitionBackfill { status error { message } } } }",
                {"id": backfill_id},
            )["partitionBackfillOrError"]
            assert answer["error"] is None, answer
            return str(answer["status"]) if answer["status"].startswith("COMPLETED") else None

        return wait_for("the backfill", ended, timeout=timeout, every=2)

    def runs(self) -> list[dict[str, Any]]:
        """Return each run's id, job, status, start and end (in seconds) and tags."""
        query = (
            "{ runsOrError { ... on Runs { results { runId jobName status startTime endTime tags { key value } } } } }"
        )
        runs = self.graphql(query)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]


class OneCommand(Dagster):
    """A command that serves Dagster until Ctrl-C. `stop` sends SIGINT and checks the exit status."""

    status_when_stopped = 0

    def __init__(self, root: Path, port: int, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        super().__init__(root, port)
        self.log = root.parent / "served.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                arguments,
                env=dict(env),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # Tests that run in the background of a shell may ignore SIGINT, and child processes inherit that.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
            )
        self.wait_until_loaded()

    def check_alive(self) -> None:
        """Raise AssertionError with the log if the command has ended."""
        assert self.process.poll() is None, self.log.read_text()[-4000:]

    def stop(self) -> None:
        """Send SIGINT, as Ctrl-C does, and wait for the end."""
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(60) == self.status_when_stopped, self.log.read_text()[-4000:]
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


class RunningPlatform(OneCommand):
    """`data-miner up` for a root."""

    status_when_stopped = 130

    def __init__(self, root: Path, config: Path) -> None:
        port, self.review_port = free_port(), free_port()
        ports = ("--port", str(port), "--review-port", str(self.review_port))
        super().__init__(root, port, command("up", "--root", root, "--config", config, *ports), environment())


class DagsterDev(OneCommand):
    """`dagster dev` for a root, with the checkout's workspace.yaml."""

    def __init__(self, root: Path) -> None:
        port = free_port()
        env = environment(DAGSTER_HOME=str(root / "dagster_home"), DATA_MINER_ROOT=str(root))
        workspace = str(CHECKOUT / "workspace.yaml")
        arguments = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
        super().__init__(root, port, arguments, env)
