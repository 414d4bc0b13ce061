"""Count the true near-duplicates that are found, by kind of change, and the different pictures that are lost.

    python -m benchmarks.dedup_truth              # a table; about a minute on two cores
    python -m benchmarks.dedup_truth --quick      # fewer pictures
    python -m benchmarks.dedup_truth --json

The pictures come from benchmarks/truth_pictures.py. Five methods process them in the same order of quality.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.truth_pictures import PAN_FRAMES, Picture, are_same, truth_set
from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.media.quality import measure as measure_picture
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.protocols.encoders import ImageEncoder
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances, telling_hashes
from data_miner_dagster.stages.deduplication.leaders import find_representatives
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.vectors import Float16Array, unit_rows

IntArray = npt.NDArray[np.int64]


# --- methods: each returns, for every picture, the position of the picture that is kept for it ---


def greedy(is_near: npt.NDArray[np.bool_], similarity: npt.NDArray[np.float64]) -> IntArray:
    """Return each picture's most similar earlier representative, or itself: leader clustering with any similarity."""
    named = np.arange(len(is_near))
    for row in range(len(is_near)):
        leaders = [other for other in range(row) if named[other] == other and is_near[row, other]]
        if leaders:
            named[row] = max(leaders, key=lambda other: (similarity[row, other], -other))
    return named


def components(is_near: npt.NDArray[np.bool_]) -> IntArray:
    """Return the position of the first picture in each picture's connected component."""
    named = np.full(len(is_near), -1)
    for seed in range(len(is_near)):
        if named[seed] >= 0:
            continue
        named[seed] = seed
        waiting = [seed]
        while waiting:
            reached = np.flatnonzero(is_near[waiting.pop()] & (named < 0))
            named[reached] = seed
            waiting += reached.tolist()
    return named


def appearances_of(pictures: Sequence[Picture]) -> Appearances:
    """Return the hashes of the pictures, each of which counts as a different file."""
    measured = [
        measure_picture(np.asarray(cv2.cvtColor(each.image, cv2.COLOR_RGB2GRAY), np.uint8)) for each in pictures
    ]
    hashes = np.array([each.perceptual_hash for each in measured], np.uint64)
    contrast = np.array([each.contrast for each in measured])
    config = DeduplicationConfig()
    return Appearances(
        file_codes=np.arange(len(pictures)),
        hashes=hashes,
        is_telling=telling_hashes(hashes, contrast, config.perceptual_hash_minimum_contrast),
        max_hash_distance=config.perceptual_hash_distance,
    )


def embed(encoder: ImageEncoder, pictures: Sequence[Picture]) -> Float16Array:
    """Return the vectors of the pictures, as deduplication would store them."""
    parts = [
        embed_images(encoder, [picture.image for picture in pictures[start : start + 16]])
        for start in range(0, len(pictures), 16)
    ]
    return np.concatenate(parts).astype(np.float16)


def decide(pictures: Sequence[Picture], vectors: Float16Array, threshold: float) -> dict[str, IntArray]:
    """Return each picture's representative, by method."""
    nothing = np.zeros((0, vectors.shape[1]), np.float16)
    units = unit_rows(vectors)
    appearances = appearances_of(pictures)
    distances = np.bitwise_count(appearances.hashes[:, None] ^ appearances.hashes[None, :])
    alike = AlikeRepresentatives(appearances, FaissHashIndex(appearances.max_hash_distance))
    ours = find_representatives(nothing, vectors, threshold, FaissIndex(vectors.shape[1]), alike=alike)
    return {
        "ours": ours.representative_ids,
        "cosine": find_representatives(nothing, vectors, threshold, FaissIndex(vectors.shape[1])).representative_ids,
        "components": components(units @ units.T >= threshold),
        "phash-6": greedy(distances <= 6, -distances.astype(np.float64)),
        "phash-12": greedy(distances <= 12, -distances.astype(np.float64)),
    }


# --- figures ---


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of one method.

    Recall is the share of changed pictures that were removed in favour of a picture of the same scene. Precision is the
    share of removed pictures whose representative shows the same scene.
    """

    recall_by_change: dict[str, float]
    precision: float
    precision_of_photographs: float
    num_kept: int
    num_removed: int
    num_lost: int  # removed pictures whose scene no kept picture shows
    lost_by_kind: dict[str, int]
    pan_kept: int


def measure(pictures: Sequence[Picture], named: IntArray) -> Quality:
    """Compare one method's decisions with the truth."""
    kept = [picture for row, picture in enumerate(pictures) if named[row] == row]
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    right: Counter[bool] = Counter()
    wrong: Counter[bool] = Counter()
    lost: Counter[str] = Counter()
    for row, picture in enumerate(pictures):
        is_removed = named[row] != row
        verdict = are_same(picture, pictures[int(named[row])]) if is_removed else None
        if picture.change not in ("original", "pan"):
            asked[picture.change] += 1
            found[picture.change] += is_removed and verdict is True
        written = next((kind for kind in ("slide", "card") if picture.scene.startswith(kind)), None)
        right[written is not None] += verdict is True
        wrong[written is not None] += verdict is False
        # A picture of the pan that overlaps a kept one is not lost: only a clear difference from all of them counts.
        kind = f"{written}s" if written else "pan" if picture.change == "pan" else "photographs and shots"
        lost[kind] += is_removed and all(are_same(picture, other) is False for other in kept)
    return Quality(
        recall_by_change={change: found[change] / num for change, num in asked.items()},
        precision=_share(right.total(), wrong.total()),
        precision_of_photographs=_share(right[False], wrong[False]),
        num_kept=len(kept),
        num_removed=len(pictures) - len(kept),
        num_lost=lost.total(),
        lost_by_kind=dict(lost),
        pan_kept=sum(picture.change == "pan" for picture in kept),
    )


def _share(num_right: int, num_wrong: int) -> float:
    return num_right / (num_right + num_wrong) if num_right + num_wrong else 1.0


def separation(pictures: Sequence[Picture], vectors: Float16Array) -> dict[str, float]:
    """Return quantiles of the cosines between pictures of the same and of different scenes, without the pan."""
    rows = [row for row, picture in enumerate(pictures) if picture.change != "pan"]
    units = unit_rows(vectors[rows])
    cosines = units @ units.T
    scenes = np.array([pictures[row].scene for row in rows])
    is_same = scenes[:, None] == scenes[None, :]
    upper = np.triu(np.ones_like(is_same), 1)
    same, different = cosines[is_same & upper], cosines[~is_same & upper]
    return {
        "same_5th_percentile": float(np.quantile(same, 0.05)),
        "same_median": float(np.median(same)),
        "different_999th_permille": float(np.quantile(different, 0.999)),
        "different_highest": float(different.max()),
    }


def main() -> None:
    """Create the truth set, run each method and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threshold", type=float, help="default: the encoder's own")
    arguments = parser.parse_args()
    pictures = truth_set(quick=arguments.quick)
    encoder = ModelProvider(ModelsConfig(profile="lite")).dedup_encoder.load()
    threshold = arguments.threshold or encoder.calibration.duplicate_threshold
    vectors = embed(encoder, pictures)
    qualities = {method: measure(pictures, named) for method, named in decide(pictures, vectors, threshold).items()}
    apart = separation(pictures, vectors)
    if arguments.json:
        content: dict[str, object] = {"num_pictures": len(pictures), "threshold": threshold, **apart}
        for method, quality in qualities.items():
            content[method] = {name: getattr(quality, name) for name in Quality.__slots__}
        print(json.dumps(content, indent=1))
        return
    print(f"{len(pictures)} pictures, {encoder.name} at {threshold}")
    print(", ".join(f"{name} {value:.3f}" for name, value in apart.items()))
    columns: dict[str, list[str]] = defaultdict(list)
    for method, quality in qualities.items():
        columns["method"].append(method)
        for change, recall in quality.recall_by_change.items():
            columns[f"recall, {change}"].append(f"{recall:.2f}")
        columns["precision"].append(f"{quality.precision:.3f}")
        columns["precision, photographs"].append(f"{quality.precision_of_photographs:.3f}")
        columns["kept"].append(str(quality.num_kept))
        for kind, num in quality.lost_by_kind.items():
            columns[f"lost, {kind}"].append(str(num))
        columns[f"kept of the {PAN_FRAMES}-frame pan"].append(str(quality.pan_kept))
    for name, cells in columns.items():
        print(f"{name:<30}" + "".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    main()
