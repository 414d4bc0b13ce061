"""Measure the time and memory of searching a million stored frames for the most similar ones.

    python -m benchmarks.similar            # 1,000,000 vectors of 768 dimensions in 10,000 files (1.5 GB under /tmp)
    python -m benchmarks.similar --quick    # 50,000 in 500
    python -m benchmarks.similar --json

The command `data-miner similar FRAME` runs three times in a process of its own, on files in the page cache. The time is
the median, and includes starting the command. The floor is the time that one thread needs to read the same files and
multiply, without archives, checksums or exactness. The first hundred results are compared with those of a brute-force
search in double precision.
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
from statistics import median
from typing import Final

import numpy as np

from data_miner_dagster.catalog.pending import record_bases
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.bases import embedding_basis
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.vectors import StoredEmbeddings, read_embeddings, write_embeddings
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_frames

DIMENSION: Final = 768
FRAMES_PER_VIDEO: Final = 100
COUNT: Final = 100


def plant(root: Path, num_videos: int) -> Platform:
    """Write videos and their embeddings, which lie around a few hundred scenes, as real ones do."""
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), root)
    encoder = platform.models.filter_encoder
    rng = np.random.default_rng(0)
    scenes = rng.standard_normal((300, DIMENSION))
    keys = [f"generic-{number:06d}" for number in range(num_videos)]
    for key in keys:
        near = scenes[rng.integers(300, size=FRAMES_PER_VIDEO)]
        vectors = near + rng.standard_normal((FRAMES_PER_VIDEO, DIMENSION))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        stored = StoredEmbeddings(
            np.arange(FRAMES_PER_VIDEO, dtype=np.int32),
            vectors.astype(np.float16),
            embeddings_fingerprint_of("frames-1", encoder.fingerprint),
        )
        write_embeddings(platform.layout.embedding_file(encoder.name, key), stored)
        add_video(platform.database, key, status=VideoStatus.EXTRACTED)
    write_frames(platform.layout, keys[0], FRAMES_PER_VIDEO)
    with platform.database.transaction() as session:
        record_bases(session, WorkStage.EMBEDDING, dict.fromkeys(keys, embedding_basis(encoder)))
    return platform


def floor_seconds(files: Sequence[Path], query: np.ndarray) -> float:
    """Return the seconds for reading the same bytes and multiplying the same number of values."""
    size = FRAMES_PER_VIDEO * DIMENSION * 2
    started = time.perf_counter()
    with np.errstate(all="ignore"):  # the bytes are cut anywhere, so the numbers are meaningless
        for path in files:
            content = path.read_bytes()
            np.frombuffer(content[:size], np.float16).reshape(-1, DIMENSION).astype(np.float32) @ query
    return time.perf_counter() - started


def brute_force(platform: Platform, query: np.ndarray) -> list[str]:
    """Return the ids of the most similar frames, with all cosines computed in double precision."""
    encoder, found = platform.models.filter_encoder, []
    exact = query.astype(np.float64)
    for row in find_videos(platform.database):
        stored = read_embeddings(platform.layout.embedding_file(encoder.name, row.key))
        assert stored is not None
        vectors = stored.vectors.astype(np.float64)
        cosines = vectors @ exact / np.linalg.norm(vectors, axis=1) / np.linalg.norm(exact)
        best = np.argsort(-cosines)[:COUNT]
        found += [(-cosines[index], row.key, int(index)) for index in best.tolist()]
    return [f"{key}/{index:06d}" for _, key, index in sorted(found)[:COUNT]]


def measure(root: Path, num_videos: int) -> dict[str, float]:
    """Return the figures."""
    platform = plant(root, num_videos)
    encoder = platform.models.filter_encoder
    files = [platform.layout.embedding_file(encoder.name, row.key) for row in find_videos(platform.database)]
    stored = read_embeddings(files[0])
    assert stored is not None
    query = stored.vectors[7].astype(np.float32)
    floor = min(floor_seconds(files, query) for _ in range(2))  # the first one fills the page cache
    command = [sys.executable, "-m", "data_miner_dagster", "similar", f"{files[0].stem}/000007", "--json"]
    command += ["--count", str(COUNT), "--root", str(root), "--profile", "lite"]
    walls, cpus, answers = [], [], []
    for _ in range(3):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        answers.append(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        walls.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    found = [frame["frame_id"] for frame in json.loads(answers[0])["frames"]]
    return {
        "similar_vectors": num_videos * FRAMES_PER_VIDEO,
        "similar_seconds": round(median(walls), 2),
        "similar_cpu": round(median(cpus), 2),
        "similar_peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "similar_floor_seconds": round(floor, 2),
        "similar_over_floor": round(median(walls) / floor, 2),
        "similar_wrong": sum(one != other for one, other in zip(found, brute_force(platform, query), strict=True)),
    }


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a twentieth, with the same names of figures")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "root", 500 if arguments.quick else 10_000)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<30}{value:>12,}")


if __name__ == "__main__":
    main()
