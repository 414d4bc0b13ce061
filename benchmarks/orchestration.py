"""Measure the cost of orchestration in addition to the stages' own work, and how it grows with the catalog.

    python -m benchmarks.orchestration [--quick] [--json]

- A thousand tiny videos from a loopback server to their release: by `data-miner run`, by `data-miner up` without user
  actions, and by a plain loop over the same functions. `overhead_seconds_per_video` and `overhead_cpu_per_video` are
  the wall time and the CPU time of all processes that `up` takes beyond the loop; `up_over_run` compares the two
  commands; `history_kb_per_video` is the growth of DAGSTER_HOME under `up`.
- A hundred videos from a site so slow that downloads outlast extraction and embedding together:
  `run_over_longest_stage` is the time of `data-miner run` divided by that of the downloads alone.
- A catalog of 10,000 and of 100,000 videos in 50 projects: the CPU time of one tick of the sensor and of `status`.

`--quick` uses a hundred videos, twenty slow ones, and 10,000 and 20,000 planted ones.
"""

import argparse
import compileall
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import data_miner_dagster
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.end_to_end.commands import command, environment, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.platform import KilledPlatform, project_of, result_of
from data_miner_dagster_tests.kills.server import CountingServer

_SECONDS_A_SLOW_FILE: Final = 2.5
_LONGEST: Final = 3600.0

Figures = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Cost:
    """Wall seconds, and CPU seconds of all processes that were started and have ended."""

    wall: float
    cpu: float


def cost_of(work: Callable[[], object]) -> Cost:
    """Call the function once, and return the cost of its processes."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, started = cpu(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - started, cpu() - before)


def _call(arguments: Sequence[str | Path], log: Path) -> None:
    with log.open("w") as output:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{arguments} ended with {done.returncode}:\n{log.read_text()[-3000:]}")


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure_overhead(folder: Path, samples: Path, num_videos: int) -> Figures:
    """Take the same videos to their release in three ways."""
    names = write_clips(folder / "clips", samples, num_videos)
    server = CountingServer(folder / "clips")
    config = write_yaml(folder / "tiny.yaml", project_of(server, names, {}))
    loop = cost_of(
        lambda: _call([sys.executable, "-m", "benchmarks.plain_loop", config, folder / "loop"], folder / "loop.log")
    )
    by_run = cost_of(lambda: _call(command("run", "-c", config, "--root", folder / "run"), folder / "run.log"))
    platform = KilledPlatform(folder / "up", server, names)
    platform.prepare(is_waiting=True)
    home_before, wall, cpu = 0, 0.0, 0.0
    by_kind: Figures = {}  # the daemon's includes the code servers that it replaced, and the runs that they had started

    def by_itself() -> None:
        nonlocal home_before, wall, cpu
        platform.start()
        wait_for("the web server", platform.answers, timeout=180, every=0.5)
        by_kind["up_start_cpu"] = round(sum(process.cpu_seconds for process in platform.processes()), 1)
        home_before, started = _bytes_under(platform.home), time.perf_counter()
        platform.drop_project()
        wait_for("the release", platform.is_complete, timeout=_LONGEST, every=1)
        wall = time.perf_counter() - started
        cpu = sum(process.cpu_seconds for process in platform.processes())  # ended runs are children of code servers
        for kind in ("daemon", "webserver", "code"):
            by_kind[f"up_cpu_{kind}"] = round(sum(process.cpu_seconds for process in platform.processes(kind)), 1)
        platform.stop()

    by_itself()
    server.close()
    results = [result_of(root) for root in (folder / "loop", folder / "run", platform.root)]
    return {
        "videos": num_videos,
        "loop_seconds": round(loop.wall, 1),
        "loop_cpu": round(loop.cpu, 1),
        "run_seconds": round(by_run.wall, 1),
        "run_cpu": round(by_run.cpu, 1),
        "up_seconds": round(wall, 1),
        "up_cpu": round(cpu, 1),
        **by_kind,
        "run_overhead_seconds_per_video": round((by_run.wall - loop.wall) / num_videos, 3),
        "run_overhead_cpu_per_video": round((by_run.cpu - loop.cpu) / num_videos, 3),
        "overhead_seconds_per_video": round((wall - loop.wall) / num_videos, 3),
        "overhead_cpu_per_video": round((cpu - loop.cpu) / num_videos, 3),
        "up_over_run": round(wall / by_run.wall, 2),
        "history_kb_per_video": round((_bytes_under(platform.home) - home_before) / 1000 / num_videos, 1),
        "differing_results": sum(result != results[0] for result in results),
    }


def measure_overlap(folder: Path, samples: Path, num_videos: int) -> Figures:
    """Take videos of a slow site to their release, and compare the time with that of the downloads alone."""
    names = write_clips(folder / "clips", samples, num_videos)
    server = CountingServer(folder / "clips", seconds_a_file=_SECONDS_A_SLOW_FILE)
    config = write_yaml(folder / "slow.yaml", project_of(server, names, {}))
    run = cost_of(lambda: _call(command("run", "-c", config, "--root", folder / "run"), folder / "run.log"))
    downloads = max(when for _, when in server.gets) - min(when for _, when in server.gets) + _SECONDS_A_SLOW_FILE
    server.close()
    return {
        "slow_videos": num_videos,
        "slow_run_seconds": round(run.wall, 1),
        "slow_download_seconds": round(downloads, 1),
        "run_over_longest_stage": round(run.wall / downloads, 2),
    }


def measure_ticks(folder: Path, num_videos: int, label: str) -> Figures:
    """Plant a catalog, and return the CPU seconds of one tick of the sensor, and of `status`."""
    root = folder / f"planted{num_videos}"
    planted = [sys.executable, "-m", "benchmarks.planted_ticks", str(root), str(num_videos)]
    done = subprocess.run(planted, env=environment(), check=True, stdout=subprocess.PIPE, text=True).stdout
    ticks = json.loads(done.splitlines()[-1])
    status = cost_of(lambda: _call(command("status", "--root", root), folder / "status.log"))
    videos = cost_of(lambda: _call(command("videos", "--limit", "50", "--root", root), folder / "videos.log"))
    return {
        f"tick_cpu_{label}": round(sum(ticks.values()), 3),
        **{f"tick_cpu_{label}_{name}": seconds for name, seconds in ticks.items()},
        f"status_cpu_{label}": round(status.cpu, 2),
        f"videos_cpu_{label}": round(videos.cpu, 2),
    }


def main() -> None:
    """Run all measurements and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", choices=("overhead", "overlap", "ticks"), help="measure only this part")
    parser.add_argument("--keep", type=Path, help="a new folder for the roots, which is kept")
    options = parser.parse_args()
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parents[1]))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # so that processes find bytecode, as in an installation
    compileall.compile_dir(Path(data_miner_dagster.__file__).parent, quiet=1)
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    figures: Figures = {}
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestration_")))
        if options.only in (None, "overhead"):
            figures |= measure_overhead(folder / "overhead", samples, 100 if options.quick else 1000)
        if options.only in (None, "overlap"):
            figures |= measure_overlap(folder / "overlap", samples, 20 if options.quick else 100)
        if options.only in (None, "ticks"):
            figures |= measure_ticks(folder, 10_000, "10k")
            figures |= measure_ticks(folder, 20_000 if options.quick else 100_000, "100k")
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"{key:<40} {value}")


if __name__ == "__main__":
    main()
