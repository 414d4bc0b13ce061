"""Measure the cost of backfilling selected partitions, with a list of keys and with Dagster's run per partition.

    python -m benchmarks.backfills [--partitions 1000] [--executed 100] [--json]

- `data-miner backfill --keys-file` with 40 scattered keys of 120 tiny local clips, without a daemon: the number of
  runs.
- `dagster job backfill -j list_sources` over 1,000 projects, with a run for each project, which `data-miner up`
  executes until 100 have ended: the CPU time of the command that launches the runs, the number of runs that work at the
  same time, and the CPU time of all processes per ended run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import dagster as dg

from benchmarks.orchestration import cost_of
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.deployment import deployment_file, existing_instance, open_instance
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.partitions import PROJECTS, add_partitions
from data_miner_dagster_tests.end_to_end.commands import data_miner, environment, project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import RunningPlatform, wait_for
from data_miner_dagster_tests.kills.clips import write_clips

_NUM_CLIPS: Final = 120
_NUM_KEYS: Final = 40
_LONGEST: Final = 6 * 3600.0

Figures = dict[str, int | float | str]


def measure_scattered_keys(folder: Path, samples: Path) -> Figures:
    """Backfill every third clip of a project, and return the figures."""
    write_clips(folder / "clips", samples, _NUM_CLIPS)
    config = write_yaml(folder / "p.yaml", project("scattered", [{"type": "files", "paths": [str(folder / "clips")]}]))
    root = folder / "root"
    data_miner("populate", "-c", config, "--root", root)
    platform = open_platform(root, config, None)
    keys = [row.key for row in find_videos(platform.database)]
    chosen = [key for number, key in enumerate(keys) if number % 3 == 0][:_NUM_KEYS]
    (folder / "keys.txt").write_text("\n".join(chosen) + "\n")
    options: list[str | Path] = [
        "--project",
        "scattered",
        "--keys-file",
        folder / "keys.txt",
        "--root",
        root,
        "-c",
        config,
    ]
    cost = cost_of(lambda: data_miner("backfill", "--asset", "videos", *options))
    with open_instance(platform) as instance:
        num_runs = instance.get_runs_count()
        num_made = len(instance.get_materialized_partitions(asset_key=dg.AssetKey("videos")))
    return {
        "scattered_keys": len(chosen),
        "scattered_made": num_made,
        "scattered_runs": num_runs,
        "scattered_cpu_per_key": round(cost.cpu / len(chosen), 3),
    }


def _plant_projects(platform: Platform, clip: Path, count: int) -> list[str]:
    """Register projects that have one local clip each."""
    names = [f"p{number:04d}" for number in range(count)]
    for name in names:
        content = project(name, [{"type": "files", "paths": [str(clip)]}])
        del content["platform"]
        config = ProjectConfig.model_validate(content).model_dump(mode="json")
        save_snapshot(platform.database, name, config, fingerprint_of(config), None)
    with open_instance(platform) as instance:
        add_partitions(instance, PROJECTS, names)
    return names


def measure_job_backfill(folder: Path, samples: Path, num_partitions: int, num_executed: int) -> Figures:
    """Have Dagster's own command launch a run for each project, and wait until some have ended."""
    os.environ.pop(DAGSTER_HOME_VARIABLE, None)  # set by the instance that was open before
    (clip, *_) = write_clips(folder / "clips", samples, 1)
    root = folder / "root"
    config = write_yaml(folder / "platform.yaml", {"platform": {"models": {"profile": "lite"}}})
    platform = open_platform(root, config, None)
    _plant_projects(platform, folder / "clips" / clip, num_partitions)
    data_miner("pause", "--root", root, "-c", config)  # so that no sensor requests the same runs
    home = platform.layout.dagster_home
    env = environment(DAGSTER_HOME=str(home), DATA_MINER_ROOT=str(root), DATA_MINER_CONFIG=str(config))
    launch = [sys.executable, "-m", "dagster", "job", "backfill", "-w", str(deployment_file("workspace.yaml"))]
    launch += ["-j", "list_sources", "--all", "_", "--noprompt"]
    launched = cost_of(lambda: subprocess.run(launch, env=env, check=True, stdout=subprocess.DEVNULL))
    seconds = 0.0

    def work() -> None:
        nonlocal seconds
        running = RunningPlatform(root, config)
        started = time.monotonic()
        wait_for("runs to end", lambda: True if len(_ended(home)) >= num_executed else None, timeout=_LONGEST, every=5)
        seconds = time.monotonic() - started
        running.stop()

    worked = cost_of(work)
    with existing_instance(home) as instance:
        num_runs = instance.get_runs_count()
    ended = _ended(home)
    spans = sorted((record.start_time or 0.0, record.end_time or 0.0) for record in ended)
    at_once = max(sum(start <= begin < end for start, end in spans) for begin, _ in spans)
    return {
        "partitions": num_partitions,
        "runs": num_runs,
        "runs_that_ended": len(ended),
        "runs_that_succeeded": sum(record.dagster_run.is_success for record in ended),
        "runs_at_once": at_once,
        "launching_seconds": round(launched.wall, 1),
        "launching_cpu_per_run": round(launched.cpu / num_partitions, 3),
        "working_seconds": round(seconds, 1),
        "working_seconds_per_run": round(seconds / len(ended), 2),
        "working_cpu_per_run": round(worked.cpu / len(ended), 2),
    }


def _ended(home: Path) -> list[dg.RunRecord]:
    with existing_instance(home) as instance:
        return [record for record in instance.get_run_records() if record.dagster_run.is_finished]


def main() -> None:
    """Run both measurements and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--partitions", type=int, default=1000, help="the number of projects, each of which is a partition"
    )
    parser.add_argument(
        "--executed", type=int, default=100, help="the number of ended runs after which the measurement stops"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    with tempfile.TemporaryDirectory(prefix="backfills_") as name:
        figures = measure_scattered_keys(Path(name) / "scattered", samples)
        figures |= measure_job_backfill(Path(name) / "jobs", samples, options.partitions, options.executed)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"{key:<30} {value}")


if __name__ == "__main__":
    main()
