"""Measure how many frames with a new arrangement stay among those of fixed cameras, and how many others are removed.

    python -m benchmarks.same_place               # 40 places, the figures of docs/deduplication.md; about ten minutes
    python -m benchmarks.same_place --quick       # 6 places
    python -m benchmarks.same_place --only places --seeds 1000 1040
    python -m benchmarks.same_place --json

Places, arrangements and cameras are those of benchmarks/place_pictures.py. The comparison was tuned on seeds 0 to 29;
figures use seeds from 1000 on.

A frame *should stay* if no earlier kept frame shows its arrangement, and *should go* otherwise. Four methods
decide on the same frames in the same order:
    ours         embeddings of the `lite` image encoder, and thumbnails laid on top of each other
    embeddings   the same embeddings alone
    tiles        the same encoder on 4 x 3 tiles of each frame: distinct if a pair of tiles is below `TILE_COSINE`
    boxes        the `lite` detector: distinct if a box in one frame overlaps no box of its class in the other

`cost` measures one camera of thousands of frames: how long the search takes, and how many pairs were laid on top of
each other.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.place_pictures import Shown, fixed_camera, moving_cameras
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.models.provider import THUMBNAILS, ModelProvider
from data_miner_dagster.protocols.encoders import ImageEncoder
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives, Appearances
from data_miner_dagster.stages.deduplication.cosines import IntArray
from data_miner_dagster.stages.deduplication.distinctions import Distinctions
from data_miner_dagster.stages.deduplication.guarantees import verify_guarantees
from data_miner_dagster.stages.deduplication.leaders import find_representatives
from data_miner_dagster.stages.deduplication.views import ThumbnailArray, Views
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.vectors import Float16Array, unit_rows

FIRST_SEED: Final = 1000
TILE_COSINE: Final = 0.6
TILES: Final = (3, 4)  # rows, columns
BOX_IOU: Final = 0.5
CLASSES: Final = tuple(
    ClassPrompts(name, (name,))
    for name in ("person", "bicycle", "car", "motorbike", "bus", "truck", "cat", "dog", "chair", "cup", "clock", "book")
)
COST_FRAMES: Final = 5000
COST_ARRANGEMENTS: Final = 1000

IsApart = Callable[[int, int], bool]


def thumbnails_of(images: Sequence[RgbImage]) -> ThumbnailArray:
    """Return the thumbnails that deduplication would store."""
    maker = THUMBNAILS.load()
    return np.stack([maker.preprocess(image) for image in images])


def embed(encoder: ImageEncoder, images: Sequence[RgbImage]) -> Float16Array:
    """Return the vectors that embedding would store."""
    parts = [embed_images(encoder, images[start : start + 16]) for start in range(0, len(images), 16)]
    return np.concatenate(parts).astype(np.float16)


def looks_of(thumbnails: ThumbnailArray | None, num: int, video_codes: IntArray | None = None) -> Appearances:
    """Return the appearances of `num` frames whose files all differ, and whose hashes tell nothing."""
    codes = np.zeros(num, np.int64) if video_codes is None else video_codes
    distinctions = Distinctions(None if thumbnails is None else thumbnails.__getitem__, codes)
    return Appearances(np.arange(num), np.zeros(num, np.uint64), np.zeros(num, np.bool_), 0, distinctions)


def decide(vectors: Float16Array, threshold: float, looks: Appearances) -> IntArray:
    """Return the representative of each frame, after verifying the guarantees."""
    index, alike = FaissIndex(vectors.shape[1]), AlikeRepresentatives(looks, FaissHashIndex(0))
    named = find_representatives(vectors[:0], vectors, threshold, index, alike=alike).representative_ids
    if not verify_guarantees(vectors[:0], vectors, named, threshold, appearances=looks).holds:
        raise AssertionError("a guarantee is broken")
    return named


def greedy(vectors: Float16Array, threshold: float, is_apart: IsApart) -> IntArray:
    """Return each frame's most similar earlier representative that is not distinct from it, or the frame itself."""
    units = unit_rows(vectors)
    named = np.arange(len(vectors))
    for row in range(len(vectors)):
        leaders = [other for other in range(row) if named[other] == other]
        nearest = sorted(leaders, key=lambda other: -float(units[row] @ units[other]))
        near = (other for other in nearest if units[row] @ units[other] >= threshold and not is_apart(row, other))
        named[row] = next(near, row)
    return named


# --- alternatives to thumbnails ---


def tiles_apart(encoder: ImageEncoder, images: Sequence[RgbImage]) -> IsApart:
    """Return a function that distinguishes frames by the embeddings of their tiles."""
    rows, columns = TILES
    tiles = [
        np.ascontiguousarray(tile)
        for image in images
        for strip in np.array_split(image, rows, axis=0)
        for tile in np.array_split(strip, columns, axis=1)
    ]
    units = unit_rows(embed(encoder, tiles)).reshape(len(images), rows * columns, -1)
    return lambda one, other: bool(np.min(np.sum(units[one] * units[other], axis=1)) < TILE_COSINE)


def boxes_apart(provider: ModelProvider, images: Sequence[RgbImage]) -> IsApart:
    """Return a function that distinguishes frames by the boxes that a detector finds."""
    detector = provider.detector.load()
    found = []
    for image in images:
        boxes = detector.detect([image], CLASSES, confidence_floor=0.25)[0]
        found.append((boxes.boxes_xyxy, boxes.class_indices.tolist()))

    def has_unmet(one: int, other: int) -> bool:
        for box, name in zip(*found[one], strict=True):
            same = [each for each, its in zip(*found[other], strict=True) if its == name]
            if not any(_iou(box, each) >= BOX_IOU for each in same):
                return True
        return False

    return lambda one, other: has_unmet(one, other) or has_unmet(other, one)


def _iou(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    corner, far = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(far - corner, 0, None)))
    areas = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
    return shared / (areas - shared) if areas > shared else 0.0


# --- figures ---


@dataclass
class Tally:
    """The outcomes of the frames of all places."""

    num_stay: int = 0
    num_should_stay: int = 0
    num_gone: int = 0
    num_should_go: int = 0
    num_kept: int = 0

    def add(self, shown: Sequence[Shown], named: IntArray) -> None:
        """Count the frames of one place."""
        kept: set[int] = set()
        for row, frame in enumerate(shown):
            is_kept = bool(named[row] == row)
            if frame.arrangement in kept:
                self.num_should_go += 1
                self.num_gone += not is_kept
            else:
                self.num_should_stay += 1
                self.num_stay += is_kept
            if is_kept:
                kept.add(frame.arrangement)
                self.num_kept += 1


def measure_places(seeds: Sequence[int], *, with_others: bool) -> dict[str, float]:
    """Return the figures for fixed cameras."""
    provider = ModelProvider(ModelsConfig(profile="lite"))
    encoder = provider.dedup_encoder.load()
    threshold = encoder.calibration.duplicate_threshold
    tallies: dict[str, Tally] = {}
    num_arrangements = num_frames = 0
    for seed in seeds:
        shown = fixed_camera(seed)
        images = [frame.image for frame in shown]
        vectors = embed(encoder, images)
        num_arrangements += len({frame.arrangement for frame in shown})
        num_frames += len(shown)
        named = {
            "ours": decide(vectors, threshold, looks_of(thumbnails_of(images), len(images))),
            "embeddings": decide(vectors, threshold, looks_of(None, len(images))),
        }
        if with_others:
            named["tiles"] = greedy(vectors, threshold, tiles_apart(encoder, images))
            named["boxes"] = greedy(vectors, threshold, boxes_apart(provider, images))
        for method, ids in named.items():
            tallies.setdefault(method, Tally()).add(shown, ids)
    figures: dict[str, float] = {
        "places": len(seeds),
        "places_frames": num_frames,
        "places_arrangements": num_arrangements,
    }
    for method, tally in tallies.items():
        figures[f"{method}_stay"] = tally.num_stay / max(tally.num_should_stay, 1)
        figures[f"{method}_go"] = tally.num_gone / max(tally.num_should_go, 1)
        figures[f"{method}_kept"] = tally.num_kept
    return figures


def measure_moving(seeds: Sequence[int]) -> dict[str, float]:
    """Return how many frames of moving cameras are kept, with and without the comparison of thumbnails."""
    encoder = ModelProvider(ModelsConfig(profile="lite")).dedup_encoder.load()
    threshold = encoder.calibration.duplicate_threshold
    figures: dict[str, float] = {"moving_frames": 0, "moving_ours_kept": 0, "moving_embeddings_kept": 0}
    for seed in seeds:
        for name, images in moving_cameras(seed):
            if name.startswith("real") and seed != seeds[0]:
                continue
            vectors = embed(encoder, images)
            ours = decide(vectors, threshold, looks_of(thumbnails_of(images), len(images)))
            alone = decide(vectors, threshold, looks_of(None, len(images)))
            kept = [int(np.count_nonzero(named == np.arange(len(images)))) for named in (ours, alone)]
            if name.startswith("real"):
                figures |= {f"{name}: frames": len(images), f"{name}: ours": kept[0], f"{name}: embeddings": kept[1]}
            else:
                figures["moving_frames"] += len(images)
                figures["moving_ours_kept"] += kept[0]
                figures["moving_embeddings_kept"] += kept[1]
    return figures


@dataclass
class _CountingThumbnails:
    """The thumbnails of one camera's frames, and the number of thumbnails that were requested."""

    thumbnails: ThumbnailArray
    num_asked: int = field(default=0)

    def of(self, rows: IntArray) -> ThumbnailArray:
        self.num_asked += len(rows)
        return np.asarray(self.thumbnails[rows], np.uint8)


def measure_cost(num_frames: int, num_arrangements: int) -> dict[str, float]:
    """Return the cost of a fixed camera, all of whose frames are near-duplicates by their embeddings alone."""
    rng = np.random.default_rng(0)
    base = thumbnails_of([fixed_camera(0, num_arrangements=2)[0].image])[0]
    thumbnails = np.repeat(base[None], num_frames, axis=0).astype(np.int16)
    arrangement = rng.integers(num_arrangements, size=num_frames)
    width = 64
    for row in range(num_frames):  # each arrangement is a set of four-pixel squares on a grid of 12 x 7
        squares = np.random.default_rng(int(arrangement[row])).permutation(84)[:5]
        for square in squares.tolist():
            left, top = square % 12 * 5 + 2, square // 12 * 5 + 1
            for line in range(top, top + 4):
                thumbnails[row, line * width + left : line * width + left + 4] = 250 - base[line * width + left]
    thumbnails += rng.integers(-2, 3, thumbnails.shape, dtype=np.int16)
    counting = _CountingThumbnails(np.asarray(thumbnails.clip(0, 255), np.uint8))
    direction = rng.standard_normal(1280)
    vectors = direction / np.linalg.norm(direction) + rng.standard_normal((num_frames, 1280)) * 0.005
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    looks = looks_of(None, num_frames)
    looks = Appearances(
        looks.file_codes, looks.hashes, looks.is_telling, 0, Distinctions(counting.of, np.zeros(num_frames, np.int64))
    )
    start = time.perf_counter()
    index, alike = FaissIndex(vectors.shape[1]), AlikeRepresentatives(looks, FaissHashIndex(0))
    named = find_representatives(vectors[:0], vectors, 0.7, index, alike=alike).representative_ids
    seconds = time.perf_counter() - start
    pairs = rng.integers(num_frames, size=(2000, 2))
    views = Views(counting.thumbnails, np.zeros(num_frames, np.int64))
    start = time.perf_counter()
    views.are_changed(pairs[:, 0], pairs[:, 1])
    return {
        "cost_frames": num_frames,
        "cost_arrangements": len(np.unique(arrangement)),
        "cost_kept": int(np.count_nonzero(named == np.arange(num_frames))),
        "cost_seconds": seconds,
        "cost_microseconds_a_pair": (time.perf_counter() - start) / len(pairs) * 1e6,
        "cost_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measure the selected parts and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few places, with the same names of figures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=("places", "moving", "cost"), action="append")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "END"), help="the seeds of the places")
    parser.add_argument("--without-others", action="store_true", help="measure only this package and embeddings")
    arguments = parser.parse_args()
    num = 6 if arguments.quick else 40
    first, end = arguments.seeds or (FIRST_SEED, FIRST_SEED + num)
    parts = arguments.only or ("places", "moving", "cost")
    figures: dict[str, float] = {}
    if "places" in parts:
        figures |= measure_places(range(first, end), with_others=not arguments.without_others)
    if "moving" in parts:
        figures |= measure_moving(range(first, first + (1 if arguments.quick else 3)))
    if "cost" in parts:
        share = 10 if arguments.quick else 1
        figures |= measure_cost(COST_FRAMES // share, COST_ARRANGEMENTS // share)
    if arguments.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<42}{value:>12,.4f}")


if __name__ == "__main__":
    main()
