"""Measure scoring frames against prompts and deciding again, with stored files and the real operation.

    python -m benchmarks.filtering                     # 1,000,000 frames of 5,000 videos, 768 dimensions, 40 prompts
    python -m benchmarks.filtering --frames 20000      # a small size, to check that it works
    python -m benchmarks.filtering --json

Every measured step runs in a process of its own, so that its peak memory is its own. `bare` is the minimum that any
filter needs: reading every .npz file, and one matrix product for each.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from data_miner_dagster.catalog.projects import find_projects, save_snapshot
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import Float32Array, RgbImage, SimilarityCalibration
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.vectors import StoredEmbeddings, read_embeddings, write_embeddings
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_frames
from data_miner_dagster_tests.support.models import PlantedModels

PROJECT: Final = "benchmark"
SETS: Final = {"positive": 0.5, "negative": 0.25, "junk": 0.25}
ENCODER_FINGERPRINT: Final = "benchmark-1"
STEPS: Final = ("bare", "rescore", "redecide", "reuse")


class RandomEncoder:
    """An encoder that maps each prompt to a fixed random direction, so that no model is loaded."""

    name = "benchmark"
    fingerprint = ENCODER_FINGERPRINT
    input_side = 8
    calibration = SimilarityCalibration(positive_threshold=0.05, duplicate_threshold=0.9)

    def __init__(self, embedding_dim: int) -> None:
        self.embedding_dim = embedding_dim

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        """Return the image itself."""
        return image

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        """Return the same direction for every image."""
        return np.repeat(self.embed_texts(["image"]), len(batch), axis=0)

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return one direction per prompt, drawn from a generator seeded by its words."""
        vectors = [
            np.random.default_rng(list(prompt.encode())).standard_normal(self.embedding_dim) for prompt in prompts
        ]
        return np.array([vector / np.linalg.norm(vector) for vector in vectors], np.float32)


def make_platform(root: Path, embedding_dim: int) -> Platform:
    """Return a platform over `root` with the random encoder."""
    return Platform(PlatformConfig(), root, models=PlantedModels(RandomEncoder(embedding_dim)))


def save_project(platform: Platform, num_prompts: int, threshold: float) -> None:
    """Write the project with its prompts, half of them positive, a quarter negative, a quarter junk."""
    prompts = {
        name: [f"{name} {number}" for number in range(max(1, round(num_prompts * share)))]
        for name, share in SETS.items()
    }
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {**prompts, "positive_threshold": threshold, "junk_threshold": 0.1, "min_gap_seconds": 2},
            "detection": {"classes": {"thing": []}},
        }
    ).model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, config, fingerprint_of(config), None)


def plant(platform: Platform, *, num_frames: int, num_videos: int, embedding_dim: int) -> None:
    """Write frames tables, embeddings and catalog rows of `num_videos` videos; one frame in fifty is blurred."""
    rng = np.random.default_rng(0)
    per_video = num_frames // num_videos
    for video in range(num_videos):
        key = f"local-{video:06d}"
        frames_fingerprint = f"frames-{video}"
        add_video(platform.database, key, PROJECT, status=VideoStatus.EXTRACTED)
        is_blurred = rng.random(per_video) < 0.02
        flags = ["blurred" if blurred else None for blurred in is_blurred.tolist()]
        write_frames(platform.layout, key, per_video, fingerprint=frames_fingerprint, quality_flag=flags)
        vectors = rng.standard_normal((per_video, embedding_dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        write_embeddings(
            platform.layout.embedding_file(RandomEncoder.name, key),
            StoredEmbeddings(
                np.arange(per_video, dtype=np.int32),
                vectors.astype(np.float16),
                embeddings_fingerprint_of(frames_fingerprint, ENCODER_FINGERPRINT),
            ),
        )


def run_step(step: str, root: Path, embedding_dim: int, num_prompts: int) -> dict[str, float]:
    """Run one step in this process. Return its seconds, its peak memory and the number of kept frames."""
    platform = make_platform(root, embedding_dim)
    if step == "redecide":
        save_project(platform, num_prompts, 0.06)
    find_projects(platform.database)  # open the database
    before, cpu_before = time.perf_counter(), time.process_time()
    kept = 0
    if step == "bare":
        prompts = np.ones((embedding_dim, num_prompts), np.float32)
        with threadpool_limits(1, user_api="blas"):
            for path in sorted((platform.layout.embeddings / RandomEncoder.name).glob("*.npz")):
                stored = read_embeddings(path)
                assert stored is not None
                kept += int((stored.vectors.astype(np.float32) @ prompts > 0).any(axis=1).sum())
    else:
        kept = filter_project(platform, PROJECT).counts["kept"]
    return {
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - cpu_before,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "kept": kept,
    }


def measure(step: str, root: Path, embedding_dim: int, num_prompts: int) -> dict[str, float]:
    """Run one step in a process of its own, and return its figures."""
    arguments = ["--step", step, "--root", str(root), "--dim", str(embedding_dim), "--prompts", str(num_prompts)]
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.filtering", *arguments], check=True, capture_output=True, text=True
    )
    measured: dict[str, float] = json.loads(answer.stdout)
    return measured


def main() -> None:
    """Measure the steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--videos", type=int, help="default: one per 200 frames")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="20,000 frames")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--root", type=Path, help="the folder for the planted files; default: a temporary folder")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step is not None:
        print(json.dumps(run_step(arguments.step, arguments.root, arguments.dim, arguments.prompts)))
        return
    num_frames = 20_000 if arguments.quick else arguments.frames
    num_videos = arguments.videos or max(1, num_frames // 200)
    with tempfile.TemporaryDirectory(dir=arguments.root) as folder:
        root = Path(folder)
        platform = make_platform(root, arguments.dim)
        save_project(platform, arguments.prompts, 0.05)
        plant(platform, num_frames=num_frames, num_videos=num_videos, embedding_dim=arguments.dim)
        measured = {step: measure(step, root, arguments.dim, arguments.prompts) for step in STEPS}
    results = {
        "rescore_1m_seconds": measured["rescore"]["seconds"],
        "redecide_1m_seconds": measured["redecide"]["seconds"],
        "peak_mb": max(measured[step]["peak_mb"] for step in ("rescore", "redecide")),
        "rescore_1m_cpu_seconds": measured["rescore"]["cpu_seconds"],
        "redecide_1m_cpu_seconds": measured["redecide"]["cpu_seconds"],
        "bare_seconds": measured["bare"]["seconds"],
        "reuse_seconds": measured["reuse"]["seconds"],
        "num_frames": num_frames // num_videos * num_videos,
        "num_videos": num_videos,
        "num_prompts": arguments.prompts,
        "embedding_dim": arguments.dim,
        "kept": measured["rescore"]["kept"],
    }
    if arguments.json:
        print(json.dumps({name: round(value, 3) for name, value in results.items()}))
        return
    print(f"{results['num_frames']:,} frames of {num_videos:,} videos, {arguments.dim} x {arguments.prompts} prompts")
    for step in STEPS:
        figures = measured[step]
        print(
            f"  {step:<10}{figures['seconds']:>8.2f} s{figures['cpu_seconds']:>8.2f} s CPU"
            f"{figures['peak_mb']:>7.0f} MB peak"
        )


if __name__ == "__main__":
    main()
