"""One life of a platform on a Ray cluster: a project from its file to its release, with strikes during the work."""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.launching.tags import RAY_TAG, REFUSED_TAG
from data_miner_dagster_tests.clusters.ray_nodes import Node, RayCluster
from data_miner_dagster_tests.clusters.ray_platform import RayPlatform, made_files, new_cluster
from data_miner_dagster_tests.clusters.ray_strikes import JOINING, STRIKES, Strike, Striker
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.platform import NAME, runs_by_status, settled_counts
from data_miner_dagster_tests.kills.postgres import OwnPostgres
from data_miner_dagster_tests.kills.server import CountingServer

logger = logging.getLogger(__name__)

NOTICED_WITHIN_SECONDS: Final[Mapping[str, float]] = {"node": 90.0, "head": 120.0, "cancel": 90.0}
"""The limits, by kind of strike. Only expired leases (after 90 s) show a head's death, and a new head must start."""
_NUM_SHARDS: Final = re.compile(rf"{NAME}: (\d+) shards of ")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen in a life: the strikes, and how many runs share the work."""

    strikes: Sequence[tuple[str, str]] = ()
    """The (kind, job) of each strike, in order; a strike happens while a run of the job is at work."""
    num_sharing: int = 1
    """The number of runs that share one project's detection, each on a node with a GPU."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """Sections of the project file."""
    limit_seconds: float = 900
    """The limit for each strike, and for the release after the last one."""


@dataclass(frozen=True, slots=True)
class RayLife:
    """The outcome of a life. `faults` has one line for each thing that went wrong, and is empty if nothing did."""

    strikes: tuple[Strike, ...]
    seconds: float
    seconds_to_start: float
    runs: dict[str, int] = field(default_factory=dict)
    num_shards_by_others: int = 0
    faults: tuple[str, ...] = ()


def nodes_of(plan: Plan) -> list[Node]:
    """Return two nodes that can both download and extract; both have a GPU if the work is shared, otherwise one has."""
    has_gpu = {"node-a": plan.num_sharing > 1, "node-b": True}
    return [Node(name, 2, int(has), {"download": 1, "cpu": 1}) for name, has in has_gpu.items()]


def live_on_ray(
    folder: Path, server: CountingServer, names: list[str], plan: Plan, reference: Callable[[], Mapping[str, str]]
) -> RayLife:
    """Take a project to its release through all strikes of a plan.

    Args:
        folder: where all files go.
        server: the site with the clips.
        names: the names of the clips.
        plan: what is to happen.
        reference: a function that returns the digests of the files that one machine makes from the same input. It is
            called while the cluster is at work, since a cluster mostly waits.
    """
    folder.mkdir(parents=True)
    began = time.monotonic()
    with ExitStack() as stack:
        postgres = OwnPostgres()
        stack.callback(postgres.close)
        cluster = new_cluster(postgres)
        stack.callback(cluster.close)
        platform = RayPlatform(
            folder, server, names, postgres, changes=plan.changes, cluster=cluster, num_sharing=plan.num_sharing
        )
        platform.prepare(is_waiting=True)
        stack.callback(platform.kill_all)
        _start_all(platform, cluster, plan)
        if plan.num_sharing > 1:
            platform.let_share()
        platform.drop_project()
        undisturbed = stack.enter_context(ThreadPoolExecutor(1)).submit(reference)
        started = time.monotonic()
        striker = Striker(platform, plan.limit_seconds)
        strikes: list[Strike] = []
        faults: list[str] = []
        try:
            for number, (what, job) in enumerate(plan.strikes, start=1):
                strikes.append(STRIKES[what](striker, job, is_last=number == len(plan.strikes)))
                logger.info("%s", strikes[-1])
            wait_for("the release", platform.is_complete, timeout=plan.limit_seconds, every=0.5)
        except AssertionError as error:
            faults.append(f"{error}; {_state(platform)}")
        if not faults:
            faults += _faults_at_the_end(platform, undisturbed.result(), striker.finished, strikes)
            faults += _faults_of_jobs(platform, cluster, has_new_head=any(each.what == "head" for each in strikes))
        num_by_others = 0 if faults else _num_shards_by_others(platform)
        if plan.num_sharing > 1 and not faults and not num_by_others:
            faults.append("no run has joined in on the work of another")
        return RayLife(
            tuple(strikes),
            round(time.monotonic() - started, 1),
            round(started - began, 1),
            _runs(platform),
            num_by_others,
            tuple(faults),
        )


def _start_all(platform: RayPlatform, cluster: RayCluster, plan: Plan) -> None:
    """Start the cluster and the platform at the same time."""
    with ThreadPoolExecutor(1) as pool:
        nodes = pool.submit(_start_nodes, cluster, plan)
        try:
            platform.start()
            wait_for("the web server", platform.answers, timeout=plan.limit_seconds, every=0.3)
            nodes.result()
        except BaseException:  # do not wait for nodes that are starting
            cluster.close()
            raise


def _start_nodes(cluster: RayCluster, plan: Plan) -> None:
    cluster.start_head()
    cluster.start_nodes(nodes_of(plan))


def _faults_at_the_end(
    platform: RayPlatform, expected: Mapping[str, str], finished: Mapping[Path, int], strikes: Sequence[Strike]
) -> list[str]:
    faults = [fault for strike in strikes for fault in strike.faults]
    faults += [
        f"what befell {strike.where} in {strike.job} was noticed after {strike.seconds} s"
        for strike in strikes
        if strike.seconds > NOTICED_WITHIN_SECONDS[strike.what]
    ]

    def is_idle() -> bool | None:
        return None if any(settled_counts(platform).values()) else True

    try:
        wait_for("everything to be given back", is_idle, timeout=120, every=0.3)
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
    faults += _faults_of_runs(platform, strikes)
    faults += [
        f"{key}: {error}" for key, error in platform.rows("SELECT key, error FROM videos WHERE error IS NOT NULL")
    ]
    return faults


def _faults_of_runs(platform: RayPlatform, strikes: Sequence[Strike]) -> list[str]:
    """Return a fault if more runs failed than were killed, not counting the runs that could not be launched."""
    tags = platform.tags()
    failed = [run["runId"] for run in platform.runs() if run["status"] == "FAILURE"]
    failed = [run_id for run_id in failed if REFUSED_TAG not in tags[run_id]]
    if len(failed) > (num_killed := sum(strike.num_killed for strike in strikes)):
        return [f"{len(failed)} runs failed, and {num_killed} were killed"]
    return []


def _faults_of_jobs(platform: RayPlatform, cluster: RayCluster, *, has_new_head: bool) -> list[str]:
    """Return a fault for each run without a resource request or a Ray job on a node, and one if Ray knows a secret."""
    assert platform.postgres is not None
    jobs = _jobs(cluster)
    tags = platform.tags()
    launched = [run_id for run_id in tags if REFUSED_TAG not in tags[run_id]]
    faults = [f"run {run_id} asked for nothing" for run_id in tags if not tags[run_id].get(RAY_TAG)]
    if not has_new_head:  # a new head does not know what the first one launched
        faults += [f"run {run_id} was no job of Ray" for run_id in launched if run_id not in jobs]
        faults += [f"{job['submission_id']} ran nowhere" for job in jobs.values() if not job["driver_node_id"]]
    told = str(list(jobs.values()))
    if platform.postgres.catalog_url in told or platform.postgres.dagster_url in told:
        faults.append("Ray was told where the databases are")
    return faults


def _jobs(cluster: RayCluster) -> dict[str, dict[str, Any]]:
    return {str((job["metadata"] or {}).get("dagster/run-id")): job for job in cluster.jobs()}


def _num_shards_by_others(platform: RayPlatform) -> int:
    """Return how many shards were made by runs that joined another run's work."""
    joined = [run["runId"] for run in platform.runs() if run["jobName"] in JOINING.values()]
    told = (_NUM_SHARDS.search(line) for run_id in joined for line in platform.said(run_id))
    return sum(int(match.group(1)) for match in told if match is not None)


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
