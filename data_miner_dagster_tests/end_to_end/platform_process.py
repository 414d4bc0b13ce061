"""A running `data-miner up`, spoken to as its users do: files, HTTP, GraphQL, signals."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from data_miner_dagster_tests.end_to_end.commands import command, environment

_T = TypeVar("_T")


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, look: Callable[[], _T | None], *, timeout: float, every: float = 1.0) -> _T:
    """Return the first answer of `look` that is not None.

    Raises:
        AssertionError: there is none within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (answer := look()) is not None:
            return answer
        time.sleep(every)
    raise AssertionError(f"waited {timeout:.0f} s for {what}")


class RunningPlatform:
    """Starts `data-miner up` over a root; `stop` sends SIGINT and expects an orderly end."""

    def __init__(self, root: Path, config: Path) -> None:
        self.root = root
        self.project_files = root / "project_files"
        self.address = f"http://127.0.0.1:{(port := free_port())}"
        self.log = root.parent / "up.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command("up", "--root", root, "--config", config, "--port", str(port)),
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_for("the web server", self._location_is_loaded, timeout=120)

    def _location_is_loaded(self) -> bool | None:
        assert self.process.poll() is None, self.log.read_text()[-4000:]
        try:
            answer = self.graphql(
                "{ repositoriesOrError { __typename ... on RepositoryConnection { nodes { name } } } }"
            )
        except OSError:
            return None
        return True if answer["repositoriesOrError"].get("nodes") else None

    def graphql(self, query: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Return the data of a GraphQL answer.

        Raises:
            AssertionError: the answer has errors.
        """
        request = urllib.request.Request(
            f"{self.address}/graphql",
            data=json.dumps({"query": query, "variables": dict(variables or {})}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        return dict(answer["data"])

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs: id, job, status, tags."""
        query = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
        runs = self.graphql(query)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]

    def run_processes(self) -> dict[str, int]:
        """Return the processes that execute runs: run id to pid. Source: their command lines in /proc."""
        found = {}
        known = {run["runId"] for run in self.runs()}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                line = (folder / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if "execute_run" in line:
                found.update({run_id: int(folder.name) for run_id in known if run_id in line})
        return found

    def stop(self) -> None:
        """Stop with Ctrl-C and wait; nothing of the process group is left."""
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(60) == 0, self.log.read_text()[-4000:]
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
