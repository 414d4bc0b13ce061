"""Compare one project's detection by two workers with that by one, and check that both write the same bytes.

    python -m benchmarks.shards                            # three pairs, the lite detector's real weights
    python -m benchmarks.shards --frames 64 --pairs 1      # a small size, to check that it works
    python -m benchmarks.shards --json
    python -m benchmarks.shards --executors                # the time of a step executor for the same work, instead

Every worker is a process with one thread of each library, pinned to one core. It examines one picture to load the model
and its libraries, reports that it is ready, and begins on a signal. The measurement ends when the tables are written.
The other worker joins in once the first has cut the work into shards, as a run of `detect_shards` does.

`speedup` is a ratio of wall times, and is meaningful only if `used_by_others`, the share of both cores that other
processes use, is close to 0. Other work hardly affects these figures:

- `speedup_unshared`, `cpu_unshared_over_one`: the figures of two workers at the same time that share nothing, each with
  half of the frames as a project of its own. They are the limit for two cores of this machine, which share its memory.
- `cpu_two_over_one`, `cpu_two_over_unshared`: ratios of processor time. The second is the cost of sharing a project.
- `serial_share`: the share of one worker's processor time that is not spent in shards, measured by another run, for
  which all parts exist already. `speedup_by_serial_share` follows from it by Amdahl's law. `speedup_by_cpu` is the
  processor time of one worker divided by the serial part plus half of the other processor time of two workers, so it
  includes the effects of the other worker and of other programs on caches and memory.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
    """Return the processor seconds of this process and of the children that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def work(root: Path, core: int, *, leads: bool) -> None:
    """Run one worker: load the model, begin on a signal, and print the processor time, also without the shards."""
    os.sched_setaffinity(0, {core})
    platform = open_root(root)
    detector = platform.models.detector.load()
    detector.detect(make_images(1), [ClassPrompts("person", ("person",))], confidence_floor=0.05)  # loads everything
    _ = platform.database
    print("ready", flush=True)
    sys.stdin.readline()
    before = cpu_seconds()
    if leads:
        detect_project(platform, PROJECT)
    else:
        while find_plan(platform.database, WorkStage.DETECTION, PROJECT) is None:
            time.sleep(0.01)
        join_detection(platform, PROJECT, may_go_on=lambda: True)
    print(json.dumps({"cpu": cpu_seconds() - before}), flush=True)
    sys.stdin.readline()
    before = cpu_seconds()
    if leads:  # all parts exist already
        platform.layout.detected_frames_table(PROJECT).unlink()
        detect_project(platform, PROJECT)
    print(json.dumps({"cpu": cpu_seconds() - before}), flush=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """The time of one worker, or of two at the same time."""

    wall: float
    cpu: float
    """The processor time of all workers."""
    cpu_again: float
    """The processor time of the first worker for everything except the shards."""
    used_by_others: float
    """The share of the cores' processor time that other processes used."""


def measure(workers: Sequence[tuple[Path, bool]], cores: Sequence[int]) -> Measured:
    """Measure workers at the same time, each on its own core and given as a root and whether it leads there."""
    command = [sys.executable, "-m", "benchmarks.shards", "--worker"]
    processes = [
        subprocess.Popen(
            [*command, str(root), "--core", str(core), *(["--leads"] if leads else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        for (root, leads), core in zip(workers, cores, strict=False)
    ]
    for process in processes:
        if _answer_of(process) != "ready\n":
            raise SystemExit("a worker did not start")
    used = cores_busy_seconds(cores[: len(processes)])
    started = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    leading = [process for process, (_, leads) in zip(processes, workers, strict=True) if leads]
    told = [json.loads(_answer_of(process)) for process in leading]
    wall = time.perf_counter() - started
    used = cores_busy_seconds(cores[: len(processes)]) - used
    told += [json.loads(_answer_of(process)) for process in processes if process not in leading]
    cpu = sum(each["cpu"] for each in told)
    again = [json.loads(process.communicate("go\n")[0]) for process in processes]
    return Measured(wall, cpu, again[0]["cpu"], max(0.0, used - cpu) / (wall * len(processes)))


def _answer_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def cores_busy_seconds(cores: Sequence[int]) -> float:
    """Return the seconds for which the cores have worked for any process since the machine started."""
    lines = {line.split()[0]: line.split()[1:] for line in Path("/proc/stat").read_text().splitlines() if line}
    ticks = [int(part) for core in cores for place, part in enumerate(lines[f"cpu{core}"][:8]) if place not in (3, 4)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")  # proc(5): the fourth and fifth are idle time


def same_tables(one: Path, other: Path) -> bool:
    """Return whether two roots have the same tables of detections, byte for byte."""
    folders = [root / "projects" / PROJECT for root in (one, other)]
    return all(filecmp.cmp(folders[0] / name, folders[1] / name, shallow=False) for name in TABLES)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=768)
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
        images = make_images(arguments.frames)
        plant(open_root(scratch / "planted"), images, 8)
        plant(open_root(scratch / "planted_half"), images[: len(images) // 2], 8)
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
    """Return the figures of one worker, of two, and of two independent ones, each measured several times."""
    load_before = os.getloadavg()[0]
    measured: list[tuple[Measured, Measured, Measured]] = []
    is_same = True
    for number in range(num_pairs):
        roots = [copy_of(scratch / name, scratch / f"{name}_{number}_{at}") for name, at in _COPIES]
        one = measure([(roots[0], True)], cores)
        two = measure([(roots[1], True), (roots[1], False)], cores)
        unshared = measure([(roots[2], True), (roots[3], True)], cores)
        print(f"{one.wall:.1f} s by one, {two.wall:.1f} s by two", file=sys.stderr, flush=True)
        measured.append((one, two, unshared))
        is_same = is_same and same_tables(*roots[:2])
        for root in roots:
            shutil.rmtree(root)
    of = partial(_median_of, measured)
    return {
        "speedup": of(lambda one, two, _: one.wall / two.wall),
        "speedups": [round(one.wall / two.wall, 2) for one, two, _ in measured],
        "speedup_unshared": of(lambda one, _, unshared: one.wall / unshared.wall),
        "speedup_by_serial_share": of(lambda one, *_: 2 / (1 + one.cpu_again / one.cpu)),
        "speedup_by_cpu": of(lambda one, two, _: one.cpu / (two.cpu_again + (two.cpu - two.cpu_again) / 2)),
        "used_by_others": of(lambda *each: max(measure.used_by_others for measure in each)),
        "seconds_one_worker": of(lambda one, *_: one.wall),
        "seconds_two_workers": of(lambda _one, two, _: two.wall),
        "cpu_seconds_one_worker": of(lambda one, *_: one.cpu),
        "cpu_two_over_one": of(lambda one, two, _: two.cpu / one.cpu),
        "cpu_unshared_over_one": of(lambda one, _, unshared: unshared.cpu / one.cpu),
        "cpu_two_over_unshared": of(lambda _, two, unshared: two.cpu / unshared.cpu),
        "serial_share": of(lambda one, *_: one.cpu_again / one.cpu),
        "same_bytes": is_same,
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }


_COPIES: Final = (("planted", "one"), ("planted", "two"), ("planted_half", "a"), ("planted_half", "b"))


def _median_of(
    measured: Sequence[tuple[Measured, Measured, Measured]], figure: Callable[[Measured, Measured, Measured], float]
) -> float:
    return statistics.median(figure(*each) for each in measured)


def copy_of(planted: Path, root: Path) -> Path:
    """Replace `root` with a copy of a planted root, and return `root`."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(planted, root)
    return root


if __name__ == "__main__":
    main()
