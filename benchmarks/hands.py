"""Rerun and cancel real runs as a person does: `python -m benchmarks.hands [--videos 60] [--reexecutions 20]`.

Runs are killed and executed again as in the UI, while the check for dead runs happens every second and must not end a
live run. Then a run of each stage is cancelled while it works. The program prints the seconds until the run is
CANCELED, and the work that is then on hold.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import dagster as dg

from data_miner_dagster.jobs import is_ours
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.runs import end_dead_runs
from data_miner_dagster_tests.end_to_end.commands import data_miner
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard
from data_miner_dagster_tests.kills.platform import ENDED, NAME, KilledPlatform, settled_counts
from data_miner_dagster_tests.kills.server import CountingServer

_LIMIT_SECONDS: Final = 900.0
_CANCELLED_JOBS: Final = ("download_videos", "extract_frames", "embed_frames", "detect_objects")
_REPOSITORY: Final = 'repositoryName: "__repository__", repositoryLocationName: "data_miner_dagster"'


def status_of(platform: KilledPlatform, run_id: str) -> str:
    """Return a run's status."""
    return next(str(run["status"]) for run in platform.runs() if run["runId"] == run_id)


def wait_for_end(platform: KilledPlatform, run_id: str) -> str:
    """Return the status that a run ends with."""

    def ended() -> str | None:
        status = status_of(platform, run_id)
        return status if status in ENDED else None

    return wait_for(f"run {run_id} to end", ended, timeout=_LIMIT_SECONDS, every=0.5)


def launch(platform: KilledPlatform, job: str) -> str:
    """Launch a job of the project as the UI does, and return the run's id."""
    answer = platform.graphql(
        f'mutation {{ launchRun(executionParams: {{ selector: {{ {_REPOSITORY}, jobName: "{job}" }}, mode: "default", '
        f'runConfigData: "{{}}", executionMetadata: {{ tags: [{{ key: "dagster/partition", value: "{NAME}" }}] }} }}) '
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
    )["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def execute_again(platform: KilledPlatform, run_id: str) -> str:
    """Execute a run again as the UI does, and return the new run's id."""
    answer = platform.graphql(
        f'mutation {{ launchRunReexecution(reexecutionParams: {{ parentRunId: "{run_id}", strategy: ALL_STEPS }}) '
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
    )["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


@contextmanager
def looking_every_second(platform: KilledPlatform) -> Iterator[list[str]]:
    """End dead runs every second, in addition to the platform's ticks. Yield the growing list of their ids."""
    ours = open_platform(platform.root, platform.folder / "platform.yaml", "lite")
    instance = dg.DagsterInstance.from_config(str(platform.home))
    is_over = threading.Event()
    ended: list[str] = []

    def look() -> None:
        while not is_over.wait(1):
            ended.extend(end_dead_runs(instance, ours.database, is_ours=is_ours, idle_limit=ours.run_idle_limit))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield ended
    finally:
        is_over.set()
        looking.join()
        ours.database.dispose()


def reexecutions(platform: KilledPlatform, number: int) -> dict[str, object]:
    """Kill the process of a run and execute the run again, `number` times.

    Return how the new runs ended, and how many live runs the check for dead runs ended.
    """
    outcomes: dict[str, int] = {}
    killed = set()
    with looking_every_second(platform) as ended:
        for _ in range(number):
            parent = launch(platform, "detect_objects")

            def has_begun(run_id: str = parent) -> bool | None:
                return True if status_of(platform, run_id) == "STARTED" else None

            wait_for("the run to begin", has_begun, timeout=120, every=0.1)
            for process in platform.processes("run"):
                process.kill()
            killed.add(parent)
            wait_for_end(platform, parent)
            outcome = wait_for_end(platform, execute_again(platform, parent))
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return {"reexecutions": outcomes, "ended_though_alive": len(set(ended) - killed)}


def cancel(platform: KilledPlatform, job: str) -> dict[str, object]:
    """Cancel a run of a job once it works. Return the seconds that this took, and the project's state afterwards."""

    def at_work() -> str | None:
        found = [run["runId"] for run in platform.runs() if run["jobName"] == job and run["status"] == "STARTED"]
        has_lease = platform.rows("SELECT run_id FROM run_leases")
        return found[0] if found and (found[0],) in has_lease else None

    run_id = wait_for(f"{job} to be at work", at_work, timeout=_LIMIT_SECONDS, every=0.05)
    time.sleep(0.5)
    started = time.monotonic()
    platform.graphql(
        f'mutation {{ terminateRun(runId: "{run_id}", terminatePolicy: SAFE_TERMINATE) {{ __typename }} }}'
    )
    status = wait_for_end(platform, run_id)
    seconds = round(time.monotonic() - started, 1)
    shown = data_miner("status", "--project", NAME, "--root", platform.root, env=platform.environment()).stdout
    done = data_miner("resume", "--project", NAME, "--root", platform.root, env=platform.environment())
    assert done.returncode == 0, done.stdout
    return {
        "job": job,
        "status": status,
        "seconds": seconds,
        "held": [line.strip() for line in shown.splitlines() if "held" in line][:2],
        "attempts": platform.rows("SELECT count(*) FROM attempts")[0][0],
    }


def main() -> None:
    """Run both parts and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--reexecutions", type=int, default=20)
    options = parser.parse_args()
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="hands_"))
    names = write_clips(folder / "clips", samples, options.videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.2)
    platform = KilledPlatform(folder / "life", server, names)
    platform.prepare()
    platform.start()
    try:
        wait_for("the web server", platform.answers, timeout=180, every=0.5)
        cancelled = [cancel(platform, job) for job in _CANCELLED_JOBS]
        wait_for("the release", platform.is_complete, timeout=_LIMIT_SECONDS, every=1)
        is_settled = partial(_is_settled, platform)
        wait_for("everything to be given back", is_settled, timeout=60, every=1)
        again = reexecutions(platform, options.reexecutions)
        print(json.dumps({"cancelled": cancelled, **again}, indent=1))
    finally:
        platform.stop()
        server.close()
        discard(folder)


def _is_settled(platform: KilledPlatform) -> bool | None:
    return None if any(settled_counts(platform).values()) else True


if __name__ == "__main__":
    main()
