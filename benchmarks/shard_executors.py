"""Compare Dagster's step executor, which runs each shard as a step, with runs that take shards in turn.

Belongs here: a job with dynamic outputs, which the package does not have. `benchmarks.shards --executors` runs it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dagster as dg

from benchmarks.detection import PROJECT
from benchmarks.shards import ONE_THREAD, copy_of, cpu_seconds, measure, open_root
from data_miner_dagster.operations.detection.representatives import representatives
from data_miner_dagster.operations.detection.runs import DetectionFaults, Looker
from data_miner_dagster.stages.sharding import cut_into_shards
from data_miner_dagster.storage.detection_parts import DetectionParts

_ROOT: Final = "SHARDS_BENCHMARK_ROOT"


@dg.op(out=dg.DynamicOut(int))
def cut() -> Iterator[dg.DynamicOutput[int]]:
    """Yield the number of each shard."""
    platform = open_root(Path(os.environ[_ROOT]))
    frames, _ = representatives(platform, PROJECT, DetectionFaults())
    for number, _ in enumerate(cut_into_shards([frame.frame_id for frame in frames], 8)):
        yield dg.DynamicOutput(number, mapping_key=str(number))


@dg.op
def look(number: int) -> int:
    """Examine one shard, in the process that the executor starts for it."""
    root = Path(os.environ[_ROOT])
    platform = open_root(root)
    config = platform.project_config(PROJECT).detection
    frames, _ = representatives(platform, PROJECT, DetectionFaults())
    span = cut_into_shards([frame.frame_id for frame in frames], 8)[number]
    parts = DetectionParts(root / "parts" / str(number), "benchmark")
    parts.prepare()
    with Looker(platform, platform.models.detector, parts, config, DetectionFaults(), {}) as looker:
        looker.look_at(frames[span.start : span.start + span.size], lambda _: None)
    return len(parts.seen())


@dg.op
def put_together(numbers: list[int]) -> int:
    """Return the number of examined frames."""
    return sum(numbers)


@dg.job(executor_def=dg.multiprocess_executor.configured({"max_concurrent": 2}))
def shards_as_steps() -> None:
    """Divide the frames, examine every shard in a step, and combine the results."""
    put_together(cut().map(look).collect())


def compare_executors(planted: Path, scratch: Path) -> dict[str, object]:
    """Return the processor time of all processes for both ways. Each process loads the model."""
    root = scratch / "steps"
    shutil.copytree(planted, root)
    cores = sorted(os.sched_getaffinity(0))
    before = cpu_seconds()
    subprocess.run([sys.executable, "-m", "benchmarks.shard_executors", str(root)], check=True, env=_env(root))
    steps = cpu_seconds() - before
    before = cpu_seconds()
    shared = copy_of(planted, scratch / "runs")
    measured = measure([(shared, True), (shared, False)], cores)
    runs = cpu_seconds() - before - measured.cpu_again
    return {
        "cpu_seconds_of_steps": steps,
        "cpu_seconds_of_two_processes": runs,  # includes starting and loading, but not Dagster's part of a run
        "cpu_seconds_of_their_work": measured.cpu,
        "num_steps": len(list((root / "parts").iterdir())),
        "steps_over_runs": steps / runs,
    }


def _env(root: Path) -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, _ROOT: str(root)}


def main() -> None:
    """Execute the job with the multiprocess executor, on an instance of its own."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["DAGSTER_HOME"] = home
        Path(home, "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        with dg.DagsterInstance.get() as instance:
            job = dg.reconstructable(shards_as_steps)
            with dg.execute_job(job, instance=instance) as result:
                if not result.success:
                    raise SystemExit("the job failed")


if __name__ == "__main__":
    main()
