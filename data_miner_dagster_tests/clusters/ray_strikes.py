"""What is done to a platform on a Ray cluster while it works: a node or the head dies, or a person cancels a run.

Belongs here: choosing the moment, striking, and waiting until Dagster knows of it. Does not belong here: checking what
must be true at the end (ray_life.py).
"""

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster_tests.clusters.marked import marked
from data_miner_dagster_tests.clusters.ray_nodes import Node
from data_miner_dagster_tests.clusters.ray_platform import RayPlatform, made_files
from data_miner_dagster_tests.end_to_end.commands import data_miner
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.platform import ENDED, NAME

_RUN_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

JOINING: Final = {"detect_objects": "detect_shards"}
"""The job of the runs that join the work, by the job of the leading run."""
_MAKERS_OF_SHARDS: Final = "SELECT DISTINCT host FROM claims WHERE resource LIKE 'shard/%'"
_BEGUN_RUNS: Final = "SELECT run_id FROM run_leases WHERE host <> ''"
_GIVES_UP_SECONDS: Final = 300.0
"""The limit for waits that take seconds unless the machine is very busy."""


_MADE: Final[Mapping[str, str]] = {
    "download_videos": "videos/{key}/info.json",
    "extract_frames": "frames/{key}/frames.parquet",
    "embed_frames": "embeddings/*/{key}.npz",
}
"""The file that the runs of a job make for each video."""
_DETECTION: Final = "detect_objects"
STRUCK_JOBS: Final = (*_MADE, _DETECTION)
"""The jobs whose runs can be struck."""


def share_done(platform: RayPlatform, job: str) -> float:
    """Return how much of a job's work is done, from 0 to 1; a strike needs a value in between."""
    if job in _MADE:
        return len(list(platform.root.glob(_MADE[job].format(key="*")))) / len(platform.names)
    folder = platform.root / "projects" / NAME
    return 1.0 if (folder / "detected_frames.parquet").exists() else 0.5 * any(folder.glob("**/*.boxes.parquet"))


@dataclass(frozen=True, slots=True)
class Strike:
    """A disturbance in the middle of the work of a job's run, and its consequences."""

    what: str
    job: str
    where: str
    run_ids: tuple[str, ...]
    seconds: float
    """The time until Dagster recorded the end of all runs that were struck."""
    faults: tuple[str, ...] = ()

    @property
    def num_killed(self) -> int:
        """The number of runs that may have failed because of the strike."""
        return 0 if self.what == "cancel" else len(self.run_ids)


def runs_on(node: Node) -> dict[str, str]:
    """Return the runs that a node executes: {run id: job}."""
    found = {}
    for pid in marked(node.mark):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        job = next((line.partition("=")[2] for line in variables if line.startswith("DAGSTER_RUN_JOB_NAME=")), None)
        if job is not None and "execute_run" in command and (run_id := _RUN_ID.search(command)):
            found[run_id.group()] = job
    return found


class Striker:
    """Strike a platform and its cluster. `finished` has the files finished before a strike, which must survive it."""

    def __init__(self, platform: RayPlatform, limit_seconds: float) -> None:
        assert platform.cluster is not None
        self.finished: dict[Path, int] = {}
        self._platform = platform
        self._cluster = platform.cluster
        self._limit_seconds = limit_seconds

    def kill_node(self, job: str, *, is_last: bool) -> Strike:
        """Kill a node that executes a run of a job; replace it unless this strike is the last and others suffice."""
        node = self._node_in_the_middle_of(job)
        run_ids = tuple(runs_on(node))
        self._note_finished()
        self._cluster.kill(node)
        killed = time.time()
        if not is_last or not any(other.has_all_of(node) for other in self._cluster.nodes):
            self._cluster.start_nodes([_again(node)])
        return Strike("node", job, node.name, run_ids, self._seconds_to_end(run_ids, killed))

    def kill_head(self, job: str, *, is_last: bool) -> Strike:  # noqa: ARG002 - a new head is always needed
        """Kill the head while a run of a job is at work; start a new head and nodes when the old nodes have ended."""
        self._node_in_the_middle_of(job)
        nodes = list(self._cluster.nodes)
        run_ids = tuple(run_id for node in nodes for run_id in runs_on(node))
        self._note_finished()
        self._cluster.kill_head()

        def are_gone() -> bool | None:
            return None if any(marked(node.mark) for node in nodes) else True

        wait_for("the nodes to end without their head", are_gone, timeout=_GIVES_UP_SECONDS, every=0.2)
        gone = time.time()
        self._cluster.nodes.clear()
        self._cluster.start_head()
        self._cluster.start_nodes([_again(node) for node in nodes])
        return Strike("head", job, "head", run_ids, self._seconds_to_end(run_ids, gone))

    def cancel(self, job: str, *, is_last: bool) -> Strike:  # noqa: ARG002 - as above
        """Cancel a run of a job as the UI does, and then resume its work, which the cancellation holds.

        A shared job is cancelled only once another run has joined in.
        """
        node = self._node_in_the_middle_of(job, is_shared=self._platform.num_sharing > 1 and job in JOINING)
        run_id = next(run_id for run_id, name in runs_on(node).items() if name == job)
        self._note_finished()
        self._platform.graphql(
            f'mutation {{ terminateRun(runId: "{run_id}", terminatePolicy: SAFE_TERMINATE) {{ __typename }} }}'
        )
        seconds = self._seconds_to_end([run_id], time.time())
        (status,) = [run["status"] for run in self._platform.runs() if run["runId"] == run_id]
        faults = [] if status == "CANCELED" else [f"run {run_id} was cancelled and is {status}"]

        def is_held() -> bool | None:
            return True if self._platform.rows("SELECT 1 FROM holds") else None

        def has_stopped() -> bool | None:
            return None if run_id in runs_on(node) or self._job_status(run_id) == "RUNNING" else True

        wait_for("the work of the cancelled run to be held", is_held, timeout=_GIVES_UP_SECONDS, every=0.5)
        wait_for("the process of the cancelled run to end", has_stopped, timeout=_GIVES_UP_SECONDS, every=0.5)
        shown = data_miner("resume", "--root", self._platform.root, env=self._platform.environment())
        if shown.returncode:
            faults.append(f"`data-miner resume` says: {shown.stdout}")
        return Strike("cancel", job, node.name, (run_id,), seconds, tuple(faults))

    def _node_in_the_middle_of(self, job: str, *, is_shared: bool = False) -> Node:
        """Wait until a job is in the middle of its work (with `is_shared`, by two runs); return a node that runs it."""

        def look() -> Node | None:
            done = share_done(self._platform, job)
            assert done < 1, f"{job} was over before it could be struck"
            if not done:
                return None
            if is_shared and len(self._platform.rows(_MAKERS_OF_SHARDS)) < 2:
                return None
            begun = {run_id for (run_id,) in self._platform.rows(_BEGUN_RUNS)}
            at_work = ((node, runs_on(node)) for node in self._cluster.nodes)
            return next(
                (node for node, runs in at_work if any(runs[each] == job for each in begun & runs.keys())), None
            )

        return wait_for(f"a node in the middle of {job}", look, timeout=self._limit_seconds, every=0.2)

    def _note_finished(self) -> None:
        self.finished.update(made_files(self._platform.root))

    def _seconds_to_end(self, run_ids: Collection[str], since: float) -> float:
        """Wait until Dagster has ended the runs; return the seconds from `since` to the last end that it recorded."""

        def ends() -> list[float] | None:
            results = "... on Runs { results { runId status endTime } }"
            try:
                runs = self._platform.graphql(f"{{ runsOrError {{ {results} }} }}")["runsOrError"]["results"]
            except OSError:
                return None
            ended = [run["endTime"] for run in runs if run["runId"] in run_ids and run["status"] in ENDED]
            return ended if len(ended) == len(run_ids) else None

        ended = wait_for("the end of the runs that were struck", ends, timeout=self._limit_seconds, every=0.3)
        return round(max(0.0, max(ended, default=since) - since), 1)

    def _job_status(self, run_id: str) -> str | None:
        jobs = (job for job in self._cluster.jobs() if job["metadata"].get("dagster/run-id") == run_id)
        return next((str(job["status"]) for job in jobs), None)


def _again(node: Node) -> Node:
    return Node(f"{node.name}-again", node.cpus, node.gpus, node.resources)


STRIKES: Final[Mapping[str, Callable[..., Strike]]] = {
    "node": Striker.kill_node,
    "head": Striker.kill_head,
    "cancel": Striker.cancel,
}
"""The functions that strike, by the kind of strike."""
