"""How many true near-duplicates are found, by kind of change, and how many different pictures are lost.

    python -m benchmarks.dedup_truth              # a table; about a minute on two cores
    python -m benchmarks.dedup_truth --quick      # fewer pictures
    python -m benchmarks.dedup_truth --json

The truth set is made on the spot from real pictures: the sample clips (the middle frame of each shot) and the
photographs that scikit-image and scikit-learn carry. Each is re-encoded (clips by H.264 at a low rate, stills as poor
JPEG), scaled, cropped, flipped, darkened, letterboxed, given a logo, and, for clips, taken at other moments. Hard
negatives are the other shots of the same street, three textures, pages of text, slides of one template, title cards,
and a pan over a photograph whose ends have nothing in common.

Five methods decide on the same pictures, in the same order of quality:
    ours         greedy leaders over perceptual hashes and embeddings of the `lite` image encoder, its own threshold
    cosine       greedy leaders over the same embeddings alone
    components   connected components over the same embeddings and threshold, the best of each component kept
    phash-6      greedy leaders over the 64-bit perceptual hash, at most 6 bits apart
    phash-12     the same, at most 12 bits apart
"""

import argparse
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage
import sklearn.datasets
from PIL import Image, ImageDraw

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.index.faiss_index import FaissHashIndex, FaissIndex
from data_miner_dagster.media.quality import measure as measure_picture
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.protocols.encoders import ImageEncoder, embed_images
from data_miner_dagster.stages.appearances import AlikeRepresentatives, Appearances, telling_hashes
from data_miner_dagster.stages.cosines import Float16Array, unit_rows
from data_miner_dagster.stages.deduplication import find_representatives

STILLS: Final = (
    *("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "hubble_deep_field.jpg", "ihc.png"),
    *("moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png", "horse.png"),
    *("brick.png", "grass.png", "gravel.png"),
)
SHOT_STARTS: Final = {"bikes.mp4": (0.0, 1.2, 3.04, 5.48, 7.48, 9.68), "bigbuckbunny.mp4": (0.0,)}
"""Seconds at which the shots of the clips begin: found by hand."""
RETIMED_BY_SECONDS: Final = 0.24
PAN_FRAMES: Final = 19
SAME_OVERLAP: Final = 0.7
DIFFERENT_OVERLAP: Final = 0.4
LONGEST_SIDE: Final = 640

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the truth set. `scene` tells what it shows; within a pan, `window` tells which part."""

    image: RgbImage
    scene: str
    change: str  # "original", a name of `CHANGES`, "reencoded", "retimed", or "pan"
    window: tuple[float, float] | None = None  # left and right, in widths of the photograph


def are_same(one: Picture, other: Picture) -> bool | None:
    """Return whether two pictures show the same, None where people would not agree."""
    if one.scene != other.scene:
        return False
    if one.window is None or other.window is None:
        return True
    shared = min(one.window[1], other.window[1]) - max(one.window[0], other.window[0])
    overlap = shared / (max(one.window[1], other.window[1]) - min(one.window[0], other.window[0]))
    if overlap >= SAME_OVERLAP:
        return True
    return False if overlap <= DIFFERENT_OVERLAP else None


# --- changes ---


def scaled(image: RgbImage) -> RgbImage:
    """A third of the size."""
    height, width = image.shape[:2]
    return _resized(image, (width // 3, height // 3))


def cropped(image: RgbImage) -> RgbImage:
    """The middle 85 % of either side: 72 % of the picture."""
    height, width = image.shape[:2]
    top, left = round(height * 0.075), round(width * 0.075)
    return np.ascontiguousarray(image[top : height - top, left : width - left])


def flipped(image: RgbImage) -> RgbImage:
    """Left is right."""
    return np.ascontiguousarray(image[:, ::-1])


def darkened(image: RgbImage) -> RgbImage:
    """A quarter darker, a quarter less contrast."""
    return np.asarray(np.clip(image.astype(np.float32) * 0.56 + 24, 0, 255), np.uint8)


def letterboxed(image: RgbImage) -> RgbImage:
    """Black bars above and below, each a tenth of the height."""
    bar = image.shape[0] // 10
    return np.asarray(cv2.copyMakeBorder(image, bar, bar, 0, 0, cv2.BORDER_CONSTANT), np.uint8)


def with_logo(image: RgbImage) -> RgbImage:
    """A channel's badge in a corner and a line of text along the bottom."""
    picture = Image.fromarray(image)
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width * 0.82, height * 0.04, width * 0.97, height * 0.04 + width * 0.15), fill=(220, 20, 60))
    draw.text((width * 0.84, height * 0.08), "LIVE", fill=(255, 255, 255), font_size=max(10, width // 18))
    draw.rectangle((0, height * 0.9, width, height), fill=(20, 30, 90))
    draw.text(
        (width * 0.03, height * 0.91), "breaking: same picture", fill=(255, 255, 255), font_size=max(8, width // 24)
    )
    return np.asarray(picture)


def poor_jpeg(image: RgbImage) -> RgbImage:
    """JPEG at quality 15."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=15)
    return np.asarray(Image.open(content).convert("RGB"))


CHANGES: Final[dict[str, Callable[[RgbImage], RgbImage]]] = {
    "scaled": scaled,
    "cropped": cropped,
    "flipped": flipped,
    "darkened": darkened,
    "letterboxed": letterboxed,
    "with logo": with_logo,
}


def _resized(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


# --- where the pictures come from ---


def decode(path: Path) -> list[tuple[float, RgbImage]]:
    """Return (seconds, image) of every frame of a clip."""
    with av.open(str(path)) as container:
        return [(float(frame.time or 0), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def reencode(frames: Sequence[tuple[float, RgbImage]]) -> list[tuple[float, RgbImage]]:
    """Return the frames after H.264 at a rate that shows (crf 38), by a real encoder and decoder."""
    content = io.BytesIO()
    height, width = (side // 2 * 2 for side in frames[0][1].shape[:2])
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"crf": "38", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _, image in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    content.seek(0)
    with av.open(content) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [(seconds, image) for (seconds, _), image in zip(frames, decoded, strict=True)]


def clip_pictures(path: Path) -> Iterator[Picture]:
    """Yield the middle frame of each shot, the same re-encoded, and the frame of a moment later.

    One frame a shot: the camera follows its subject, and what is "the same" within a shot would be a matter of taste.
    """
    frames = decode(path)
    poor = reencode(frames)
    seconds = np.array([time for time, _ in frames])
    starts = SHOT_STARTS[path.name]
    for shot, (start, stop) in enumerate(zip(starts, (*starts[1:], float(seconds[-1])), strict=True)):
        middle = (start + stop) / 2
        at = int(np.abs(seconds - middle).argmin())
        later = int(np.abs(seconds - middle - RETIMED_BY_SECONDS).argmin())
        scene = f"{path.stem} shot {shot}"
        yield Picture(frames[at][1], scene, "original")
        yield Picture(poor[at][1], scene, "reencoded")
        yield Picture(frames[later][1], scene, "retimed")


def photographs(num: int) -> Iterator[Picture]:
    """Yield the photographs and their poor JPEGs."""
    folder = Path(skimage.__file__).parent / "data"
    images = {name: np.asarray(Image.open(folder / name).convert("RGB")) for name in STILLS[:num]}
    images |= {name: sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")}
    for name, image in images.items():
        longest = max(image.shape[:2])
        size = tuple(round(side * min(1, LONGEST_SIDE / longest)) for side in image.shape[1::-1])
        small = _resized(image, (size[0], size[1]))
        yield Picture(small, name, "original")
        yield Picture(poor_jpeg(small), name, "reencoded")


def slides() -> Iterator[Picture]:
    """Yield slides of one template that say different things."""
    for number, (title, lines) in enumerate(
        {
            "Results": ["Revenue up 4 %", "Costs down 2 %", "Outlook stable"],
            "Team": ["Ada: engines", "Grace: compilers", "Alan: machines"],
            "Plan": ["First: measure", "Then: change", "Last: measure again"],
            "Questions": ["Why now?", "Who pays?", "What if it fails?"],
        }.items()
    ):
        picture = Image.new("RGB", (640, 360), (245, 245, 240))
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, 0, 640, 60), fill=(30, 60, 120))
        draw.text((20, 12), title, fill=(255, 255, 255), font_size=32)
        for row, line in enumerate(lines):
            draw.text((50, 110 + 70 * row), line, fill=(20, 20, 20), font_size=30)
        yield Picture(np.asarray(picture), f"slide {number}", "original")


def title_cards() -> Iterator[Picture]:
    """Yield white words on black that say different things: little contrast, one layout."""
    for text in (
        "The end",
        "Chapter one",
        "Directed by",
        "Thank you",
        "Intermission",
        "Paris, 1924",
        "Three years later",
    ):
        picture = Image.new("RGB", (640, 360))
        draw = ImageDraw.Draw(picture)
        left = 320 - draw.textlength(text, font_size=36) / 2
        draw.text((left, 155), text, fill=(255, 255, 255), font_size=36)
        yield Picture(np.asarray(picture), f"card {text}", "original")


def pan() -> Iterator[Picture]:
    """Yield a window that moves over a wide photograph made of two that have nothing in common."""
    left, right = (sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg"))
    # Mirrored halves, so that no frame of the pan is a copy of the photographs themselves.
    wide = np.concatenate([flipped(left)[:, :320], left[:, 320:], right[:, :320], flipped(right)[:, 320:]], axis=1)
    width = wide.shape[1]
    for step in range(PAN_FRAMES):
        start = round(step * (width - 426) / (PAN_FRAMES - 1))
        window = (start / width, (start + 426) / width)
        yield Picture(np.ascontiguousarray(wide[:, start : start + 426]), "pan", "pan", window)


def truth_set(*, quick: bool) -> list[Picture]:
    """Return all pictures: originals first, as the better ones come first by quality."""
    clips = fetch_samples()
    names = ["bikes.mp4"] if quick else sorted(SHOT_STARTS)
    pictures = [picture for name in names for picture in clip_pictures(clips[name])]
    pictures += photographs(6 if quick else len(STILLS))
    originals = [picture for picture in pictures if picture.change == "original"]
    changed = [
        Picture(change(picture.image), picture.scene, name) for name, change in CHANGES.items() for picture in originals
    ]
    others = [picture for picture in pictures if picture.change != "original"]
    return [*originals, *slides(), *title_cards(), *others, *changed, *pan()]


# --- methods: the position of the picture kept for each ---


def greedy(is_near: npt.NDArray[np.bool_], similarity: npt.NDArray[np.float64]) -> IntArray:
    """Return the most similar representative before each picture, or itself: leaders over any similarity."""
    named = np.arange(len(is_near))
    for row in range(len(is_near)):
        leaders = [other for other in range(row) if named[other] == other and is_near[row, other]]
        if leaders:
            named[row] = max(leaders, key=lambda other: (similarity[row, other], -other))
    return named


def components(is_near: npt.NDArray[np.bool_]) -> IntArray:
    """Return the first picture of each picture's connected component."""
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
    """Return what the pictures look like; no two are of one file."""
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
    """Return the vectors as they would be stored."""
    parts = [
        embed_images(encoder, [picture.image for picture in pictures[start : start + 16]])
        for start in range(0, len(pictures), 16)
    ]
    return np.concatenate(parts).astype(np.float16)


def decide(pictures: Sequence[Picture], vectors: Float16Array, threshold: float) -> dict[str, IntArray]:
    """Return what each method makes of the pictures."""
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
    """Of one method. Recall: of changed pictures, those that gave way to the same scene. Precision: of removed
    pictures, those whose kept picture shows the same."""

    recall_by_change: dict[str, float]
    precision: float
    precision_of_photographs: float
    num_kept: int
    num_removed: int
    num_lost: int  # removed, and nothing that is kept shows the same
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
        # A picture of the pan is covered by a kept one that overlaps: only what is clearly elsewhere loses it.
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
    """Return how far apart the cosines of same and different pictures lie, the pan left out."""
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
    """Make the truth set, let each method decide, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--threshold", type=float, help="default: the encoder's own")
    arguments = parser.parse_args()
    pictures = truth_set(quick=arguments.quick)
    encoder = ModelProvider(ModelsConfig(profile="lite")).dedup_encoder()
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
