"""Measure the peak memory of a release of generated images, of its exports, and of the commands that read releases.

    python -m benchmarks.exports                              # 10,000 and 100,000 images, all steps
    python -m benchmarks.exports --step lance --step coco --images 1000

Videos of 500 small pictures with two boxes each go through filtering, deduplication and detection, with models whose
answers are known. Then each step runs in a process of its own: two releases (the second has tracks), all exports of
the second, and the commands that read releases. A peak includes the interpreter and the packages.
100,000 images take about 2 GB in the folder for temporary files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.tables import DETECTIONS_SCHEMA, TRACK_COLUMNS
from data_miner_dagster.export.formats import EXPORT_NAMES
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.provenance import trace_image
from data_miner_dagster.operations.releasing.rebuilding import plan_rebuild, rebuild_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import difference_between, list_releases
from data_miner_dagster.storage.tables import (
    read_batches,
    read_fingerprint,
    read_metadata,
    table_from_rows,
    table_writer,
)
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.support.axis_project import AxisEncoder
from data_miner_dagster_tests.support.coloured_shapes import ColourDetector, jpeg_of
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.models import PlantedModels

PROJECT: Final = "large"
IMAGES_A_VIDEO: Final = 500
_DIMENSIONS: Final = 64
"""The dimension of the vectors, which are random, so that no two frames are near-duplicates."""


class _WideEncoder(AxisEncoder):
    embedding_dim = _DIMENSIONS


class LargePlatform(Platform):
    """A platform of one root, with planted models."""

    def __init__(self, root: Path) -> None:
        self.encoder = _WideEncoder()
        models = PlantedModels(self.encoder, detectors=[ColourDetector()])
        super().__init__(PlatformConfig(), root, models=models)


def configure(platform: Platform, confidence: float) -> None:
    """Save the project with `confidence` as the threshold for its releases."""
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["cat"], "positive_threshold": -1},
            "deduplication": {
                "encoder": "filter",
                "threshold": 0.97,
                "same_place": "nowhere",
                "perceptual_hash_minimum_contrast": 256,
                "perceptual_hash_distance": 0,
            },
            "detection": {"classes": {"red": [], "blue": []}, "confidence_floor": 0.001},
            "releasing": {"confidence_threshold": confidence, "unsure": "as_negative"},
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, dump, fingerprint_of(dump), None)


def plant(root: Path, num_images: int) -> None:
    """Create a root with this many frames, and run the stages from filtering to detection."""
    platform, generator = LargePlatform(root), np.random.default_rng(0)
    configure(platform, 0.01)
    content = jpeg_of([("red", (4, 6, 40, 30)), ("blue", (42, 8, 60, 40))])
    for first in range(0, num_images, IMAGES_A_VIDEO):
        key, number = f"files-{first // IMAGES_A_VIDEO:06d}", min(IMAGES_A_VIDEO, num_images - first)
        candidate = VideoCandidate(
            key, f"/clips/{key}.mp4", "files", ".", 0, datetime(2026, 1, 1, tzinfo=UTC), origin=Origin.LOCAL
        )
        with platform.database.transaction() as session:
            add_candidates(session, PROJECT, [(candidate, None)], takes_back=True)
            row = session.get_one(VideoRow, key)
            row.status, row.num_frames, row.sha256 = VideoStatus.EXTRACTED, number, "0" * 64
        contents = [content + f"{key} {index}".encode() for index in range(number)]  # no two files are equal
        write_pictures(platform.layout, key, contents, fingerprint=f"frames of {key}")
        vectors = generator.normal(size=(number, _DIMENSIONS))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        stored = StoredEmbeddings(
            np.arange(number, dtype=np.int32),
            vectors.astype(np.float16),
            embeddings_fingerprint_of(f"frames of {key}", platform.encoder.fingerprint),
        )
        write_embeddings(platform.layout.embedding_file(platform.encoder.name, key), stored)
    for stage in (filter_project, deduplicate_project, detect_project):
        stage(platform, PROJECT)


def add_tracks(platform: Platform) -> None:
    """Give the boxes track ids, which the export formats for tracks need."""
    path, schema = platform.layout.detections_table(PROJECT), pa.schema([*DETECTIONS_SCHEMA, *TRACK_COLUMNS])
    numbers = {"red": 1, "blue": 2}
    batches = read_batches(path, DETECTIONS_SCHEMA.names)
    with table_writer(path, schema, fingerprint=read_fingerprint(path), metadata=read_metadata(path)) as writer:
        for batch in batches:
            rows = [
                row | {"track_id": numbers[row["class_name"]], "recovered": False, "recovered_from": None}
                for row in batch.to_pylist()
            ]
            writer.write_table(table_from_rows(rows, schema))


def _release(platform: LargePlatform, _folder: Path) -> None:
    release_project(platform, PROJECT)


def _check(platform: LargePlatform, _folder: Path) -> None:
    if problems := list_releases(platform, PROJECT, check=True)[0].problems:
        raise AssertionError(problems[:3])


def _rebuild(platform: LargePlatform, folder: Path) -> None:
    rebuild_release(platform, plan_rebuild(platform, PROJECT, version="v001"), folder / "rebuilt")


def _diff(platform: LargePlatform, _folder: Path) -> None:
    difference_between(platform, PROJECT, "v001", "v002")


def _trace(platform: LargePlatform, _folder: Path) -> None:
    trace_image(platform, "box:2", project=PROJECT)
    trace_image(platform, "files-000001_000499.jpg", project=PROJECT)


def _export(name: str) -> Callable[[LargePlatform, Path], None]:
    def export(platform: LargePlatform, folder: Path) -> None:
        export_release(platform, PROJECT, format=name, to=folder / "export")

    return export


STEPS: Final[Mapping[str, Callable[[LargePlatform, Path], None]]] = {
    "release": _release,
    "second release": _release,
    "releases --check": _check,
    "rebuild": _rebuild,
    "diff": _diff,
    "trace": _trace,
    **{name: _export(name) for name in EXPORT_NAMES},
}
_FIRST: Final = ("release", "second release")
"""The steps that create the releases for the other steps. They always run."""


def perform(step: str, root: Path) -> int:
    """Run one step in this process and return its peak memory in MB."""
    platform = LargePlatform(root)
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        STEPS[step](platform, Path(folder))
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would include the parent's memory
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def measure(steps: list[str], num_images: int) -> Iterator[tuple[str, int]]:
    """Yield each step and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        _run("--plant", root, num_images)
        for step in STEPS:
            if step == "second release":
                _run("--plant-tracks", root, num_images)
            if step in steps or step in _FIRST:
                yield step, int(_run(f"--perform={step}", root, num_images))


def _run(what: str, root: Path, num_images: int) -> str:
    command = [sys.executable, "-m", "benchmarks.exports", what, "--images", str(num_images), "--in", str(root)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Print a line for each step, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--images", type=int, action="append")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plant", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--plant-tracks", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--perform", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="root", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plant:
        plant(given.root, given.images[0])
    elif given.plant_tracks:
        platform = LargePlatform(given.root)
        configure(platform, 0.02)
        add_tracks(platform)
    elif given.perform:
        print(perform(given.perform, given.root))
    else:
        figures: dict[str, dict[str, int]] = {}
        for number in given.images or [10_000, 100_000]:
            for step, peak in measure(given.step or list(STEPS), number):
                figures.setdefault(step, {})[f"{number:,} images"] = peak
                if not given.json:
                    print(f"{step}: {peak:,} MB for {number:,} images", flush=True)
        if given.json:
            print(json.dumps(figures))


if __name__ == "__main__":
    main()
