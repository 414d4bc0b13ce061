"""Measure the resources of each stage per frame: processor time, bytes on disk, memory, rows of the catalog.

    python -m benchmarks.scaling [--videos 3] [--seconds 40] [--json]

The clips are 720p at 1.2 Mbit/s, and each shows a different scene. One frame per second is sampled, with the lite
models. Every frame is kept, and nearly every frame is a representative. Each stage runs in a process of its own, with
one thread of each library. Its processor time is that of all its processes after its models are loaded; `peak_mb` is
the peak of the largest process, with its models and libraries. docs/deploy/scaling.md extrapolates from the figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.extraction_clips import make_clip
from benchmarks.shards import ONE_THREAD, cpu_seconds
from data_miner_dagster.catalog.copying import catalog_tables, count_rows
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.storage.tables import open_table

NAME: Final = "scaling"
_OF_VIDEOS: Final = {"downloading": download_videos, "extraction": extract_frames, "embedding": embed_frames}
_OF_PROJECTS: Final = {
    "filtering": filter_project,
    "deduplication": deduplicate_project,
    "detection": detect_project,
    "releasing": release_project,
}
STAGES: Final = (*_OF_VIDEOS, *_OF_PROJECTS)


def project_content(folder: Path) -> dict[str, Any]:
    """Return a project file with which all frames are kept, and only equal frames are duplicates."""
    return {
        "name": NAME,
        "sourcing": {"sources": [{"type": "files", "paths": [str(folder)]}]},
        "filtering": {"positive": ["a street"], "positive_threshold": -1.0, "drop_quality_flags": []},
        "deduplication": {"threshold": 1.0},
        "detection": {"classes": {"person": [], "bicycle": [], "car": [], "bus": []}},
        "releasing": {"confidence_threshold": 0.25, "unsure": "as_negative"},
        "platform": {"models": {"profile": "lite"}},
    }


def work_of(stage: str, platform: Platform) -> Callable[[], object]:
    """Load the models of a stage, and return a function that does its work."""
    if stage == "embedding":
        platform.models.filter_encoder.load()
    if stage == "deduplication":
        platform.models.dedup_encoder.load()
    if stage == "detection":
        platform.models.detector.load()
    if stage in _OF_VIDEOS:
        keys = [row.key for row in find_videos(platform.database, project=NAME)]
        return partial(_OF_VIDEOS[stage], platform, keys)
    return partial(_OF_PROJECTS[stage], platform, NAME)


def run_stage(stage: str, config: Path, root: Path) -> None:
    """Run one stage. Print the processor time before its work, and the peak memory of its largest process."""
    platform = open_platform(root, config)
    if stage == "downloading":
        register_project_file(platform, config)
        list_sources(platform, NAME, force=True)
    work = work_of(stage, platform)
    before = cpu_seconds()
    work()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"before": before, "peak_mb": peak / 1000}), flush=True)


def measure_stage(stage: str, config: Path, root: Path) -> dict[str, float]:
    """Run a stage, and return the processor seconds of all its processes and the peak memory of the largest."""
    earlier = cpu_seconds()
    command = [
        sys.executable,
        "-m",
        "benchmarks.scaling",
        "--stage",
        stage,
        "--config",
        str(config),
        "--root",
        str(root),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return {"cpu": cpu_seconds() - earlier - told["before"], "peak_mb": told["peak_mb"]}


def bytes_under(folder: Path) -> int:
    """Return the bytes that the files below a folder take, without hard links to frames."""
    files = (path.stat() for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
    return sum(file.st_size for file in files if folder.name == "frames" or file.st_nlink == 1)


def sizes_of(root: Path) -> dict[str, int]:
    """Return the bytes in each folder of a root, and in its catalog."""
    rooms = ("videos", "frames", "embeddings", "projects", "previews", "reports", "releases")
    return {**{room: bytes_under(root / room) for room in rooms}, "catalog": (root / "catalog.sqlite").stat().st_size}


def measure(num_videos: int, seconds: int, folder: Path) -> dict[str, Any]:
    """Take the clips to a release, stage by stage, and return the figures."""
    clips = folder / "clips"
    clips.mkdir(exist_ok=True)
    for number in range(num_videos):
        make_clip(clips / f"clip_{number}.mp4", (1280, 720), 1_200_000, seconds, seed=number)
    config, root = folder / "scaling.yaml", folder / "root"
    config.write_text(yaml.safe_dump(project_content(clips)), encoding="utf-8")
    stages = {stage: measure_stage(stage, config, root) for stage in STAGES}
    platform = open_platform(root, config)
    layout = platform.layout
    num_frames = open_table(layout.filtered_table(NAME)).metadata.num_rows
    num_representatives = open_table(layout.detected_frames_table(NAME)).metadata.num_rows
    num_boxes = open_table(layout.detections_table(NAME)).metadata.num_rows
    with platform.database.engine.connect() as connection:
        rows = count_rows(connection, catalog_tables())
    tables = {path.name: path.stat().st_size for path in layout.project_folder(NAME).iterdir() if path.is_file()}
    return {
        "num_videos": num_videos,
        "num_frames": num_frames,
        "num_representatives": num_representatives,
        "num_boxes": num_boxes,
        "load": os.getloadavg()[0],
        "cpu_ms_a_frame": {stage: round(1000 * told["cpu"] / num_frames, 2) for stage, told in stages.items()},
        "peak_mb": {stage: round(told["peak_mb"]) for stage, told in stages.items()},
        "bytes_a_frame": {room: round(size / num_frames, 1) for room, size in sizes_of(root).items()},
        "table_bytes_a_frame": {name: round(size / num_frames, 1) for name, size in sorted(tables.items())},
        "catalog_rows": {name: number for name, number in rows.items() if number},
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    for name in ("--stage", "--config", "--root"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.stage is not None:
        run_stage(arguments.stage, Path(arguments.config), Path(arguments.root))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.videos, arguments.seconds, Path(folder))
    print(json.dumps(figures, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
