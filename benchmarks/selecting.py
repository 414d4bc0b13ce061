"""Measure how well selected images cover all images, compared with a random selection, and the time it takes.

    python -m benchmarks.selecting          # 200,000 planted images for the time
    python -m benchmarks.selecting --quick  # 20,000
    python -m benchmarks.selecting --json

There are two sets of vectors. *Long tail*: 60 clusters of 192 dimensions whose sizes fall as 1 / rank^1.3, with seeds 0
to 4. *Clips*: the frames of the sample clips, ten per second, embedded by the `lite` image encoder. The covering radius
is the greatest distance (1 minus the cosine of the whole vectors) from any image to the nearest selected one. For
random selections, it is the median of twenty draws.
"""

import argparse
import json
import resource
import time
from typing import Final

import av
import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.selecting import Pool, choose_images, covering_radius, projected

COUNT: Final = 5000
_DRAWS: Final = 20

Vectors = npt.NDArray[np.float32]


def long_tail(seed: int, num: int, *, num_clusters: int = 60) -> Vectors:
    """Return about this number of unit vectors in clusters of unequal size."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_clusters + 1) ** 1.3
    sizes = (num * shares / shares.sum()).astype(int) + 3
    centres = rng.standard_normal((num_clusters, 192)).astype(np.float32)
    parts = [
        centre + np.float32(0.35) * rng.standard_normal((size, 192), dtype=np.float32)
        for centre, size in zip(centres, sizes, strict=True)
    ]
    vectors = np.concatenate(parts)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def clips() -> Vectors:
    """Return the vectors of frames of the sample clips."""
    fetch_profile("lite", progress=lambda _: None)
    encoder = ModelProvider(ModelsConfig(profile="lite")).dedup_encoder.load()
    parts = []
    for path in sorted(fetch_samples(progress=lambda _: None).values()):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            step = max(1, round(float(stream.average_rate or 25) / 10))
            frames = enumerate(container.decode(stream))
            images = [frame.to_ndarray(format="rgb24") for number, frame in frames if number % step == 0]
        parts += [embed_images(encoder, images[start : start + 16]) for start in range(0, len(images), 16)]
    return np.concatenate(parts)


def radius_over_random(vectors: Vectors, count: int) -> float:
    """Return the covering radius of a selection divided by that of a random one."""
    chosen = np.flatnonzero(choose_images(_pool(projected(vectors)), count))
    rng = np.random.default_rng(0)
    drawn = [covering_radius(vectors, rng.permutation(len(vectors))[:count]) for _ in range(_DRAWS)]
    return covering_radius(vectors, chosen) / float(np.median(drawn))


def _pool(vectors: Vectors) -> Pool:
    nothing = np.zeros(len(vectors), np.float32), np.zeros(len(vectors) + 1, np.int64), np.zeros(0, np.int32)
    return Pool(*nothing, vectors)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a tenth, with the same names of figures")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    share = 10 if arguments.quick else 1
    ratios = [radius_over_random(long_tail(seed, 3000), 150) for seed in range(5)]
    figures = {"selecting_long_tail_over_random": max(ratios)}
    frames = clips()
    figures["selecting_clip_frames"] = len(frames)
    for percent in (10, 25):
        name = f"selecting_clips_{percent}_percent_over_random"
        figures[name] = radius_over_random(frames, len(frames) * percent // 100)
    vectors = projected(long_tail(0, 200_000 // share))
    before = time.process_time()
    choose_images(_pool(vectors), COUNT // share)
    figures["selecting_images"] = len(vectors)
    figures["selecting_count"] = COUNT // share
    figures["selecting_cpu"] = time.process_time() - before
    figures["selecting_peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        print(json.dumps({name: round(float(value), 3) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<42}{value:>12,.3f}")


if __name__ == "__main__":
    main()
