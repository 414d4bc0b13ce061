"""One project's detection by two workers against one, each worker on a core of its own, and the same bytes.

    python -m benchmarks.shards                            # three pairs, the lite detector's real weights
    python -m benchmarks.shards --frames 64 --pairs 1      # a small size, to see that it works
    python -m benchmarks.shards --json
    python -m benchmarks.shards --executors                # what a step executor takes for the same work, instead

Every worker is a process with one thread of each library, pinned to one core. It loads the model and its libraries, by
one picture, says so, and begins when it is told to; what is measured ends when the tables are written. The other worker
joins in once the first has cut the work into shards, as a run of `detect_shards` does. `cpu` is of all workers, from
beginning to end.
"""

import argparse
import filecmp
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.detection import PROJECT, make_images, plant
from data_miner_dagster.catalog.shards import find_plan
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.shares import join_detection
from data_miner_dagster.operations.platform import Platform

_LIBRARIES: Final = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
ONE_THREAD: Final = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
TABLES: Final = ("detections.parquet", "detected_frames.parquet")


def open_root(root: Path) -> Platform:
    """Return the platform of a root, with the lite models."""
    return Platform(PlatformConfig(), root, models=ModelProvider(ModelsConfig(profile="lite")))


def cpu_seconds() -> float:
    """Return the processor time of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def work(root: Path, core: int, *, leads: bool) -> None:
    """Be one worker: load, say so, begin when told to, and print the processor time that it took and what it made."""
    os.sched_setaffinity(0, {core})
    platform = open_root(root)
    detector = platform.models.detector.load()
    detector.detect(make_images(1), [ClassPrompts("person", ("person",))], confidence_floor=0.05)  # imports torchvision
    _ = platform.database
    print("ready", flush=True)
    sys.stdin.readline()
    before = cpu_seconds()
    if leads:
        made = detect_project(platform, PROJECT).counts["frames"]
    else:
        while find_plan(platform.database, WorkStage.DETECTION, PROJECT) is None:
            time.sleep(0.01)
        made = join_detection(platform, PROJECT, may_go_on=lambda: True)
    print(json.dumps({"cpu": cpu_seconds() - before, "made": made}), flush=True)


def measure(planted: Path, scratch: Path, num_workers: int, cores: Sequence[int]) -> tuple[float, float, Path]:
    """Return the wall-clock time and the processor time of a project's detection, and the root with its tables."""
    root = scratch / f"workers_{num_workers}"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(planted, root)
    command = [sys.executable, "-m", "benchmarks.shards", "--worker", str(root)]
    workers = [
        subprocess.Popen(
            [*command, "--core", str(cores[number]), *(["--leads"] if number == 0 else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        for number in range(num_workers)
    ]
    for worker in workers:
        assert worker.stdout is not None
        if worker.stdout.readline() != "ready\n":
            raise SystemExit("a worker did not start")
    started = time.perf_counter()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    assert workers[0].stdout is not None
    told = [workers[0].stdout.readline()]
    wall = time.perf_counter() - started
    told += [worker.stdout.readline() for worker in workers[1:] if worker.stdout is not None]
    for worker in workers:
        worker.communicate()
    return wall, sum(json.loads(line)["cpu"] for line in told), root


def same_tables(one: Path, other: Path) -> bool:
    """Return whether two roots have the same bytes of detections."""
    folders = [root / "projects" / PROJECT for root in (one, other)]
    return all(filecmp.cmp(folders[0] / name, folders[1] / name, shallow=False) for name in TABLES)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=384)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--executors", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--leads", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(arguments.worker, arguments.core, leads=arguments.leads)
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two workers need two cores; this process may use one")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        plant(open_root(scratch / "planted"), make_images(arguments.frames), 8)
        if arguments.executors:
            from benchmarks.shard_executors import compare_executors

            figures = compare_executors(scratch / "planted", scratch)
        else:
            figures = compare_workers(scratch, arguments.pairs, cores)
    figures = {"num_frames": arguments.frames, **figures}
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value:.3f}" if isinstance(value, float) else f"{name:28} {value}")


def compare_workers(scratch: Path, num_pairs: int, cores: Sequence[int]) -> dict[str, object]:
    """Return the figures of one worker and of two, side by side, several times."""
    load_before = os.getloadavg()[0]
    walls, cpus, is_same = [], [], True
    for _ in range(num_pairs):
        one, cpu_of_one, root_of_one = measure(scratch / "planted", scratch, 1, cores)
        two, cpu_of_two, root_of_two = measure(scratch / "planted", scratch, 2, cores)
        print(f"{one:.1f} s by one, {two:.1f} s by two", file=sys.stderr, flush=True)
        walls.append((one, two))
        cpus.append((cpu_of_one, cpu_of_two))
        is_same = is_same and same_tables(root_of_one, root_of_two)
    ratios = [one / two for one, two in walls]
    return {
        "speedup": statistics.median(ratios),
        "speedups": [round(ratio, 2) for ratio in ratios],
        "seconds_one_worker": statistics.median(one for one, _ in walls),
        "seconds_two_workers": statistics.median(two for _, two in walls),
        "cpu_two_over_one": statistics.median(two / one for one, two in cpus),
        "cpu_seconds_one_worker": statistics.median(one for one, _ in cpus),
        "same_bytes": is_same,
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
