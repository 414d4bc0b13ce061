"""One life of a platform on a Ray cluster: a project from its file to its release, whose nodes are killed at work."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster_tests.clusters.ray_nodes import Node, RayCluster, pids_of
from data_miner_dagster_tests.clusters.ray_platform import RayPlatform, made_files, new_cluster
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.platform import NAME, runs_by_status, settled_counts
from data_miner_dagster_tests.kills.postgres import OwnPostgres
from data_miner_dagster_tests.kills.server import CountingServer

NOTICED_WITHIN_SECONDS: Final = 90.0
_RUN_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ENDED: Final = ("SUCCESS", "FAILURE", "CANCELED")

Moment = Callable[[RayPlatform, int], bool]
"""Whether a run of a stage is in the middle of its work on so many videos."""


def _count(platform: RayPlatform, pattern: str) -> int:
    return len(list(platform.root.glob(pattern)))


def _is_between(pattern: str) -> Moment:
    return lambda platform, total: 0 < _count(platform, pattern) < total


MOMENTS: Final[Mapping[str, Moment]] = {
    "download_videos": _is_between("videos/*/info.json"),
    "extract_frames": _is_between("frames/*/frames.parquet"),
    "embed_frames": _is_between("embeddings/*/*.npz"),
    "detect_objects": lambda _platform, _total: True,  # from when its process is there
}
"""When a node is killed, by the job of the run that it executes then."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A node that was killed while it executed a run, and what followed."""

    job: str
    node: str
    run_ids: tuple[str, ...]
    seconds_until_noticed: float


@dataclass(frozen=True, slots=True)
class RayLife:
    """What became of a platform. `faults` has one line for each thing that should not be; none is a good life."""

    kills: tuple[Kill, ...]
    seconds: float
    seconds_to_start: float
    runs: dict[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def runs_on(node: Node) -> dict[str, str]:
    """Return the runs that a node executes: {run id: job}."""
    found = {}
    for pid in pids_of(node.marker):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            variables = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        job = next((line.partition("=")[2] for line in variables if line.startswith("DAGSTER_RUN_JOB_NAME=")), None)
        if job is not None and "execute_run" in command and (run_id := _RUN_ID.search(command)):
            found[run_id.group()] = job
    return found


def start_nodes(cluster: RayCluster) -> None:
    """Start the head and two nodes: either may download and extract, and only one has a GPU."""
    cluster.start_head()
    cluster.start_node("node-a", cpus=2, download=1, cpu=1)
    cluster.start_node("node-b", cpus=2, gpus=1, download=1, cpu=1)


def live_on_ray(
    folder: Path,
    server: CountingServer,
    names: list[str],
    *,
    expected: Mapping[str, str],
    kills: Sequence[str],
    limit_seconds: float = 300,
) -> RayLife:
    """Take a project to its release; kill the node that executes a run of each job in `kills` in the middle of it."""
    del server.gets[:]
    folder.mkdir(parents=True)
    began = time.monotonic()
    with ExitStack() as stack:
        postgres = OwnPostgres()
        stack.callback(postgres.close)
        cluster = new_cluster(postgres)
        stack.callback(cluster.close)
        start_nodes(cluster)
        platform = RayPlatform(folder, server, names, postgres, cluster=cluster)
        platform.prepare()
        stack.callback(platform.stop)
        platform.start()
        started = time.monotonic()
        done: list[Kill] = []
        faults: list[str] = []
        finished: dict[Path, int] = {}
        try:
            for job in kills:
                done.append(_kill_in_the_middle(platform, cluster, job, finished, limit_seconds))
            wait_for("the release", platform.is_complete, timeout=limit_seconds, every=0.5)
        except AssertionError as error:
            faults.append(f"{error}; {_state(platform)}")
        faults += _faults_at_the_end(platform, cluster, expected, finished, done) if not faults else []
        seconds = round(time.monotonic() - started, 1)
        return RayLife(tuple(done), seconds, round(started - began, 1), _runs(platform), tuple(faults))


def _kill_in_the_middle(
    platform: RayPlatform, cluster: RayCluster, job: str, finished: dict[Path, int], limit_seconds: float
) -> Kill:
    """Kill the node that executes a run of a job, start another; return once the run is over for Dagster."""

    def look() -> Node | None:
        if not MOMENTS[job](platform, len(platform.names)):
            return None
        return next((node for node in cluster.nodes if job in runs_on(node).values()), None)

    node = wait_for(f"a node in the middle of {job}", look, timeout=limit_seconds, every=0.05)
    run_ids = tuple(runs_on(node))
    finished.update(made_files(platform.root))
    cluster.kill(node)
    killed = time.monotonic()
    cluster.start_node(f"{node.name}-again", cpus=node.cpus, gpus=node.gpus, **node.resources)

    def is_over() -> bool | None:
        try:
            states = {run["runId"]: run["status"] for run in platform.runs()}
        except OSError:
            return None
        return True if all(states.get(run_id) in _ENDED for run_id in run_ids) else None

    wait_for(f"the end of the runs of {node.name}", is_over, timeout=limit_seconds, every=0.5)
    return Kill(job, node.name, run_ids, round(time.monotonic() - killed, 1))


def _faults_at_the_end(
    platform: RayPlatform,
    cluster: RayCluster,
    expected: Mapping[str, str],
    finished: Mapping[Path, int],
    kills: Sequence[Kill],
) -> list[str]:
    faults = [
        f"the death of {kill.node} in {kill.job} was noticed after {kill.seconds_until_noticed} s"
        for kill in kills
        if kill.seconds_until_noticed > NOTICED_WITHIN_SECONDS
    ]

    def is_idle() -> bool | None:
        return None if any(settled_counts(platform).values()) else True

    try:
        wait_for("everything to be given back", is_idle, timeout=60)
    except AssertionError:
        faults.append(f"left behind: { {what: count for what, count in settled_counts(platform).items() if count} }")
    if again := platform.downloaded_again():
        faults.append(f"downloaded again though finished: {', '.join(again)}")
    now = made_files(platform.root)
    if again := sorted(str(path) for path, when in finished.items() if path in now and now[path] != when):
        faults.append(f"made again though finished: {', '.join(again[:5])}")
    found = platform.result()
    if differing := sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)):
        faults.append(f"{len(differing)} files differ from those of one machine: {', '.join(differing[:5])}")
    num_failed = sum(count for what, count in _runs(platform).items() if what.endswith("FAILURE"))
    if num_failed > (num_killed := sum(len(kill.run_ids) for kill in kills)):
        faults.append(f"{num_failed} runs failed, and {num_killed} were killed")
    faults += [
        f"{key}: {error}" for key, error in platform.rows("SELECT key, error FROM videos WHERE error IS NOT NULL")
    ]
    return faults + _faults_of_jobs(platform, cluster)


def _faults_of_jobs(platform: RayPlatform, cluster: RayCluster) -> list[str]:
    """Every run was a job of Ray, on a node, with the resources of its pool; and Ray was told no secret."""
    assert platform.postgres is not None
    jobs = {job["metadata"]["dagster/run-id"]: job for job in cluster.jobs()}
    faults = [f"run {run['runId']} was no job of Ray" for run in platform.runs() if run["runId"] not in jobs]
    faults += [f"{job['submission_id']} ran nowhere" for job in jobs.values() if not job["driver_node_id"]]
    told = str(list(jobs.values()))
    if platform.postgres.catalog_url in told or platform.postgres.dagster_url in told:
        faults.append("Ray was told where the databases are")
    asked = {run["runId"]: {tag["key"]: tag["value"] for tag in run["tags"]} for run in _tagged(platform)}
    return faults + [
        f"run {run_id} asked for nothing" for run_id, tags in asked.items() if not tags.get("dagster-ray/config")
    ]


def _tagged(platform: RayPlatform) -> list[dict[str, list[dict[str, str]]]]:
    found = platform.graphql("{ runsOrError { ... on Runs { results { runId tags { key value } } } } }")
    return list(found["runsOrError"]["results"])


def _runs(platform: RayPlatform) -> dict[str, int]:
    try:
        return runs_by_status(platform)
    except OSError:
        return {}


def _state(platform: RayPlatform) -> str:
    try:
        videos = platform.rows("SELECT status, error_kind, count(*) FROM videos GROUP BY status, error_kind")
        gates = platform.rows("SELECT stage, reason FROM stage_gates")
        projects = platform.rows(f"SELECT stage, error FROM projects WHERE name = '{NAME}'")
        return f"videos {videos}, project {projects}, gates {gates}, runs {_runs(platform)}"
    except Exception as error:  # noqa: BLE001 - whatever does not answer is part of the state
        return f"no answer: {error}; log: {platform.log.read_text()[-1500:]}"
