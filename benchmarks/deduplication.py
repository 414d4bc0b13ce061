"""Measure the time to find near-duplicates against a bare FAISS search of the same size, and count those found.

    python -m benchmarks.deduplication             # the sizes of the figures in docs/deduplication.md: half an hour
    python -m benchmarks.deduplication --quick     # small sizes, to check that it works
    python -m benchmarks.deduplication --json

The frames are random directions in random order, some of which have one near-duplicate each (cosine .89 to .97,
threshold .85). They have no structure that helps a clustered index, and the number of frames to keep is known exactly.
Files and hashes all differ. Every step runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import faiss
import numpy as np

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.operations.deduplication.search import choose_search
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees
from data_miner_dagster.stages.deduplication.leaders import Assignment, find_representatives
from data_miner_dagster.stages.vectors import Float16Array, unit_rows

THRESHOLD: Final = 0.85
_CHUNK_ROWS: Final = 8192

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The size of the search."""

    exact_frames: int
    exact_dimension: int
    new_frames: int
    large_frames: int
    large_dimension: int


FULL: Final = Sizes(100_000, 768, 10_000, 1_000_000, 384)
QUICK: Final = Sizes(10_000, 768, 1_000, 40_000, 384)


def planted(num_frames: int, dimension: int, duplicate_share: float, seed: int = 0) -> tuple[Float16Array, int]:
    """Return shuffled (N, D) vectors, and the number of those that are near-duplicates of exactly one other.

    The vectors are written in place, chunk by chunk, so that their creation does not affect the measured memory.
    """
    num_duplicates = int(num_frames * duplicate_share)
    num_bases = num_frames - num_duplicates
    rng = np.random.default_rng(seed)
    places = rng.permutation(num_frames)
    vectors = np.empty((num_frames, dimension), np.float16)
    for start in range(0, num_bases, _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, num_bases)
        rows = rng.standard_normal((stop - start, dimension), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        vectors[places[start:stop]] = rows
        twins = places[num_bases + start : min(num_bases + stop, num_frames)]
        noise = rng.standard_normal((len(twins), dimension), np.float32)
        noise *= rng.uniform(0.25, 0.5, (len(twins), 1)).astype(np.float32) / np.sqrt(np.float32(dimension))
        near = rows[: len(twins)] + noise
        vectors[twins] = near / np.linalg.norm(near, axis=1, keepdims=True)
    return vectors, num_duplicates


def none_of(dimension: int) -> Float16Array:
    """Return an empty array of vectors."""
    return np.zeros((0, dimension), np.float16)


def timed(work: Callable[[], Assignment]) -> tuple[Assignment, float]:
    """Return the result of `work` and the seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def looks_of(num_frames: int, seed: int = 0) -> Appearances:
    """Return files and hashes that all differ, so that comparing them takes time but finds no duplicates."""
    hashes = np.random.default_rng(seed + 1000).integers(0, 2**64, num_frames, dtype=np.uint64)
    distance = DeduplicationConfig().perceptual_hash_distance
    return Appearances(np.arange(num_frames), hashes, np.ones(num_frames, np.bool_), distance)


def alike_of(num_frames: int) -> AlikeRepresentatives:
    """Return an empty set of representatives with random hashes."""
    looks = looks_of(num_frames)
    return AlikeRepresentatives(looks, FaissHashIndex(looks.max_hash_distance))


def num_removed(assignment: Assignment) -> int:
    """Return the number of frames that name another frame as their representative."""
    return int(np.count_nonzero(~assignment.is_representative))


def measure_exact(sizes: Sizes) -> Figures:
    """Measure the exact search among all frames, and a bare FAISS search for all frames among all frames."""
    vectors, num_duplicates = planted(sizes.exact_frames, sizes.exact_dimension, 0.3)
    start = time.perf_counter()
    bare = faiss.IndexFlatIP(sizes.exact_dimension)
    bare.add(unit_rows(vectors))
    bare.search(unit_rows(vectors), 1)
    bare_seconds = time.perf_counter() - start
    del bare
    index = FaissIndex(sizes.exact_dimension)
    nothing, alike = none_of(vectors.shape[1]), alike_of(len(vectors))
    found, seconds = timed(lambda: find_representatives(nothing, vectors, THRESHOLD, index, alike=alike))
    if num_removed(found) != num_duplicates:
        raise AssertionError(f"{num_removed(found)} duplicates were removed, but {num_duplicates} were planted")
    return {
        "exact_100k_seconds": seconds,
        "bare_100k_seconds": bare_seconds,
        "exact_100k_ratio": seconds / bare_seconds,
    }


def measure_incremental(sizes: Sizes) -> Figures:
    """Measure the search for newcomers among kept frames, of which there are as many as frames in the exact step."""
    dimension = sizes.exact_dimension
    kept, _ = planted(sizes.exact_frames, dimension, 0)
    new, num_duplicates = planted(sizes.new_frames, dimension, 0.3, seed=1)
    new[:100] = kept[:100]
    index, alike = FaissIndex(dimension), alike_of(len(kept) + len(new))
    found, seconds = timed(lambda: find_representatives(kept, new, THRESHOLD, index, alike=alike))
    named_earlier = int(np.count_nonzero(found.representative_ids < len(kept)))
    if named_earlier < 100 or num_removed(found) > num_duplicates + 100:
        raise AssertionError(f"{named_earlier} of 100 planted frames were found among the kept frames")
    return {"incremental_seconds": seconds}


def measure_million(sizes: Sizes) -> Figures:
    """Measure the clustered index with many frames, and the share of the planted duplicates that it finds."""
    vectors, num_duplicates = planted(sizes.large_frames, sizes.large_dimension, 0.3)
    config = DeduplicationConfig(exact_up_to_frames=min(300_000, sizes.large_frames // 2))
    nothing = none_of(sizes.large_dimension)
    start = time.perf_counter()
    search = choose_search(nothing, vectors, THRESHOLD, config)
    chosen_seconds = time.perf_counter() - start
    alike = alike_of(len(vectors))
    found, seconds = timed(lambda: find_representatives(nothing, vectors, THRESHOLD, search.index, alike=alike))
    report = verify_guarantees(nothing, vectors, found.representative_ids, THRESHOLD, sample_size=2000)
    return {
        "million_recall": num_removed(found) / num_duplicates,
        "million_measured_recall": report.recall,
        "million_seconds": chosen_seconds + seconds,
        "million_choosing_seconds": chosen_seconds,
        "million_clusters": search.num_clusters,
        "million_probes": search.num_probes,
        "million_vectors_mb": vectors.nbytes / 2**20,
    }


def measure_cases(_: Sizes) -> Figures:
    """Return the figures of cases whose result is known in advance."""
    frame, _unused = planted(1, 768, 0)
    identical = find_representatives(none_of(768), np.repeat(frame, 200, axis=0), THRESHOLD, FaissIndex(768))
    angles = np.radians(np.linspace(0, 90, 19))
    pan = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    panned = find_representatives(none_of(2), pan, 0.95, FaissIndex(2))
    return {
        "identical_200_kept": 200 - num_removed(identical),
        "pan_19_kept": 19 - num_removed(panned),
    }


STEPS: Final[dict[str, Callable[[Sizes], Figures]]] = {
    "cases": measure_cases,
    "exact": measure_exact,
    "incremental": measure_incremental,
    "million": measure_million,
}


def run_step(step: str, sizes: Sizes) -> Figures:
    """Measure one step in this process, with its peak memory."""
    figures = STEPS[step](sizes)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures | {f"{step}_peak_mb": peak_mb}


def run_in_process_of_its_own(step: str, *, quick: bool) -> Figures:
    """Measure one step in a new process."""
    command = [sys.executable, "-m", "benchmarks.deduplication", "--step", step, *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure the selected steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use small sizes, with the same names of figures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=sorted(STEPS), action="append", help="run only this step; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else FULL
    if arguments.step is not None:
        faiss.omp_set_num_threads(arguments.threads)
        print(json.dumps(run_step(arguments.step, sizes)))
        return
    figures: Figures = {}
    for step in STEPS:
        if arguments.only is None or step in arguments.only:
            figures |= run_in_process_of_its_own(step, quick=arguments.quick)
    if arguments.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<28}{value:>12,.3f}")


if __name__ == "__main__":
    main()
