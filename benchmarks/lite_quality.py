"""Measure the quality of the `lite` models on labelled real images.

    python -m benchmarks.lite_quality [--json]

Filter: 34 images that installed packages ship (scikit-image, scikit-learn, matplotlib, ultralytics) and frames of the
sample clips, labelled by hand for 19 prompts, and five prompts for things that none of them shows. Dedup: every image
is compared with its altered copies and with all other images. Detection: which of the plainly visible classes are
found. The set is small, and `lite-conse` was tuned on it, so the figures are the best to expect (docs/models.md).
"""

import argparse
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.records import ClassPrompts, Float32Array, RgbImage
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.stages.embedding import embed_images

IMAGES_BY_PACKAGE: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "cell.png",
            "chelsea.png",
            "clock_motion.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "horse.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "microaneurysms.png",
            "moon.png",
            "motorcycle_left.png",
            "page.png",
            "retina.jpg",
            "rocket.jpg",
            "text.png",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
    "matplotlib": ("mpl-data/sample_data", ("grace_hopper.jpg",)),
    "ultralytics": ("assets", ("bus.jpg", "zidane.jpg")),
}
SECONDS_BY_CLIP: Final[Mapping[str, tuple[Fraction, ...]]] = {
    "bikes.mp4": tuple(Fraction(tenths, 10) for tenths in (5, 20, 40, 60, 85, 98)),
    "bigbuckbunny.mp4": (Fraction(1), Fraction(4)),
    "carphone_pristine.mp4": (Fraction(1),),
}
SHOWN_BY_PROMPT: Final[Mapping[str, tuple[str, ...]]] = {
    "a photo of a cat": ("chelsea.png",),
    "a person": ("astronaut.png", "camera.png", "grace_hopper.jpg", "bus.jpg", "zidane.jpg", "carphone_pristine.mp4@1"),
    "a cup of coffee": ("coffee.png",),
    "a motorcycle": ("motorcycle_left.png",),
    "a bus": ("bus.jpg",),
    "a car": ("bikes.mp4@2", "bikes.mp4@4", "bikes.mp4@6"),
    "a bicycle": ("bikes.mp4@17/2", "bikes.mp4@49/5"),
    "a horse": ("horse.png",),
    "a rocket": ("rocket.jpg",),
    "a flower": ("flower.jpg",),
    "a temple": ("china.jpg",),
    "a street with traffic": ("bikes.mp4@2", "bikes.mp4@4", "bikes.mp4@6", "bus.jpg"),
    "a rabbit": ("bigbuckbunny.mp4@1", "bigbuckbunny.mp4@4"),
    "a page of printed text": ("page.png", "text.png"),
    "stars in the night sky": ("hubble_deep_field.jpg",),
    "a brick wall": ("brick.png",),
    "coins": ("coins.png",),
    "a man in a suit": ("zidane.jpg", "carphone_pristine.mp4@1"),
    "a military uniform": ("grace_hopper.jpg",),
}
ABSENT_PROMPTS: Final = ("a dog", "a boat", "a pizza", "an airplane", "an elephant")
PLAIN_DETECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "bus.jpg": ("bus", "person"),
    "zidane.jpg": ("person",),
    "bikes.mp4@2": ("car",),
    "bikes.mp4@6": ("car",),
    "camera.png": ("person",),
    "motorcycle_left.png": ("motorbike",),
    "chelsea.png": ("cat",),
}


def labelled_images() -> dict[str, RgbImage]:
    """Return the images by name. A frame of a clip is called `<clip>@<second>`."""
    images = {}
    for package, (folder, names) in IMAGES_BY_PACKAGE.items():
        spec = importlib.util.find_spec(package)  # found without being imported
        if spec is None or spec.origin is None:
            raise SystemExit(f"package {package} is not installed: pip install '.[dev]'")
        for name in names:
            images[name] = _rgb(Path(spec.origin).parent / folder / name)
    for clip, path in fetch_samples().items():
        images.update(_frames(path, SECONDS_BY_CLIP.get(clip, ())))
    return images


def _rgb(path: Path) -> RgbImage:
    decoded = cv2.imread(str(path))
    if decoded is None:
        raise SystemExit(f"{path} cannot be read")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _frames(path: Path, seconds: Iterable[Fraction]) -> dict[str, RgbImage]:
    import av

    wanted = list(seconds)
    frames: dict[str, RgbImage] = {}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if wanted and frame.pts * frame.time_base >= wanted[0]:
                frames[f"{path.name}@{wanted.pop(0)}"] = frame.to_ndarray(format="rgb24")
    return frames


def altered(image: RgbImage) -> dict[str, RgbImage]:
    """Return altered copies like those of re-uploads: smaller, recompressed, darker, cropped, with bars, blurred."""
    height, width = image.shape[:2]
    _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])
    return {
        "half size": cv2.resize(image, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA),
        "jpeg 30": cv2.imdecode(jpeg, cv2.IMREAD_COLOR),
        "darker": (image * 0.75).astype(np.uint8),
        "cropped 5 %": image[height // 20 : height - height // 20, width // 20 : width - width // 20],
        "bars": np.pad(image, ((height // 10, height // 10), (0, 0), (0, 0))),
        "blurred": cv2.GaussianBlur(image, (0, 0), max(height, width) / 400),
    }


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Return the probability that a positive value is greater than a negative one. A tie counts half."""
    above = np.asarray(positive)[:, None] - np.asarray(negative)[None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def average_precision(similarities: Float32Array, is_shown: Sequence[bool]) -> float:
    """Return the mean of the precisions at the ranks of the images that show the prompt's object."""
    ranked = np.asarray(is_shown)[np.argsort(-similarities, kind="stable")]
    precisions = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precisions[ranked].mean())


def measure_filter(provider: ModelProvider, images: Mapping[str, RgbImage]) -> dict[str, Any]:
    """Return the figures of the filter: how well prompts find their images."""
    encoder = provider.filter_encoder.load()
    vectors = embed_images(encoder, list(images.values()))
    similarities = vectors @ encoder.embed_texts(list(SHOWN_BY_PROMPT)).T
    absent = vectors @ encoder.embed_texts(ABSENT_PROMPTS).T
    shown = np.array([[name in names for names in SHOWN_BY_PROMPT.values()] for name in images])
    precisions = [average_precision(similarities[:, p], list(shown[:, p])) for p in range(shown.shape[1])]
    threshold = encoder.calibration.positive_threshold
    negative = np.concatenate([similarities[~shown], absent.ravel()])
    return {
        "num_images": len(images),
        "mean_average_precision": round(float(np.mean(precisions)), 3),
        "chance_average_precision": round(float(shown.mean()), 3),
        "num_right_first": int(sum(shown[similarities[:, p].argmax(), p] for p in range(shown.shape[1]))),
        "num_prompts": shown.shape[1],
        "auc": round(auc(list(similarities[shown]), list(negative)), 3),
        "threshold": threshold,
        "recall_at_threshold": round(float((similarities[shown] >= threshold).mean()), 3),
        "false_positive_rate_at_threshold": round(float((negative >= threshold).mean()), 3),
        "average_precision_by_prompt": dict(zip(SHOWN_BY_PROMPT, (round(p, 2) for p in precisions), strict=True)),
    }


def measure_dedup(provider: ModelProvider, images: Mapping[str, RgbImage]) -> dict[str, Any]:
    """Return how well altered copies are distinguished from other images. Only one frame of each shot is used."""
    encoder = provider.dedup_encoder.load()
    chosen = {name: image for name, image in images.items() if name != "bigbuckbunny.mp4@4"}
    originals = embed_images(encoder, list(chosen.values()))
    copies = [altered(image) for image in chosen.values()]
    by_change = {
        change: (originals * embed_images(encoder, [of_image[change] for of_image in copies])).sum(axis=1)
        for change in copies[0]
    }
    same = np.concatenate(list(by_change.values()))
    other = (originals @ originals.T)[np.triu_indices(len(originals), 1)]
    threshold = encoder.calibration.duplicate_threshold
    return {
        "auc": round(auc(list(same), list(other)), 4),
        "threshold": threshold,
        "highest_of_different_images": round(float(other.max()), 3),
        "recall_at_threshold": round(float((same >= threshold).mean()), 3),
        "false_positive_rate_at_threshold": round(float((other >= threshold).mean()), 4),
        "recall_at_threshold_by_change": {
            change: round(float((values >= threshold).mean()), 2) for change, values in by_change.items()
        },
    }


def measure_detection(provider: ModelProvider, images: Mapping[str, RgbImage]) -> dict[str, Any]:
    """Return which of the plainly visible classes are found at confidence 0.3."""
    names = sorted({name for found in PLAIN_DETECTIONS.values() for name in found})
    classes = [ClassPrompts(name, (name,)) for name in names]
    chosen = [images[name] for name in PLAIN_DETECTIONS]
    found: list[str] = []
    missed: list[str] = []
    detections = provider.detector.load().detect(chosen, classes, confidence_floor=0.3)
    for (image, wanted), of_image in zip(PLAIN_DETECTIONS.items(), detections, strict=True):
        seen = {names[index] for index in of_image.class_indices}
        for name in wanted:
            (found if name in seen else missed).append(f"{name} in {image}")
    return {"num_found": len(found), "num_wanted": len(found) + len(missed), "missed": missed}


def measure() -> dict[str, Any]:
    """Return all figures."""
    fetch_profile("lite")
    provider = ModelProvider(ModelsConfig(profile="lite", device="cpu"))
    images = labelled_images()
    return {
        "filter": measure_filter(provider, images),
        "dedup": measure_dedup(provider, images),
        "detection": measure_detection(provider, images),
    }


def main() -> None:
    """Measure, and print the figures as a table or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure()
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for part, figures in results.items():
        print(part)
        for name, value in figures.items():
            print(f"  {name:<36}{value}")


if __name__ == "__main__":
    main()
