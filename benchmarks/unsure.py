"""Measure how many wrong and correct negatives a release loses when frames with unsure boxes are held back.

    python -m benchmarks.unsure            # fits the curves to the lite detector, then plants 50,000 frames
    python -m benchmarks.unsure --quick    # 5,000 frames
    python -m benchmarks.unsure --json

The confidences of true objects and of false boxes follow beta distributions. The one of true objects has the mean and
variance of the most confident person on every other frame of `carphone_pristine.mp4`: a man is on every frame, so the
truth needs no label. The one of false boxes has those of the most confident box of five classes on every other frame of
`bigbuckbunny.mp4`, a cartoon that shows none of them. Frames of a clip resemble each other, and the detector is a small
one, so the curves say little about another detector. The constants for planted frames, here and in the tests, are in
data_miner_dagster_tests/support/planted_misses.py; `fitted_*` should equal them.

`measured_*` are the same shares, counted on the frames of the clips without any curve.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.releasing import DEFAULT_UNSURE_FROM
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster_tests.support.planted_misses import (
    FALSE_BOXES,
    FLOOR,
    THRESHOLD,
    TRUE_OBJECTS,
    count_negatives,
    plant_frames,
)

SEEDS: Final = (1, 2, 3, 4, 5)
_CLASSES: Final = ("person", "bicycle", "car", "bus", "truck")
_EVERY: Final = 2
_BATCH: Final = 8

Confidences = npt.NDArray[np.float64]


def best_confidences(detector: ObjectDetector, clip: str, class_names: Sequence[str]) -> Confidences:
    """Return the confidence of the best box of any of the classes on each frame of a sample clip, or 0."""
    classes = [ClassPrompts(name, (name,)) for name in class_names]
    images: list[RgbImage] = []
    with av.open(str(fetch_samples()[clip])) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % _EVERY == 0:
                images.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    best = []
    for start in range(0, len(images), _BATCH):
        for found in detector.detect(images[start : start + _BATCH], classes, confidence_floor=0.01):
            best.append(float(found.confidences.max(initial=0)))
    return np.array(best)


def fit_beta(confidences: Confidences) -> tuple[float, float]:
    """Return the parameters of the beta distribution with the mean and variance of these confidences."""
    mean, variance = float(confidences.mean()), float(confidences.var())
    weight = mean * (1 - mean) / variance - 1
    return round(mean * weight, 2), round((1 - mean) * weight, 2)


def measure_curves() -> dict[str, Any]:
    """Return the curves of the lite detector beside the planted ones."""
    fetch_profile("lite")
    detector = ModelProvider(ModelsConfig(profile="lite", device="cpu")).detector.load()
    true = best_confidences(detector, "carphone_pristine.mp4", ["person"])
    false = best_confidences(detector, "bigbuckbunny.mp4", _CLASSES)
    is_missed = (true >= FLOOR) & (true < THRESHOLD)
    return {
        "num_true_objects": len(true),
        "num_empty_frames": len(false),
        "fitted_true_objects": fit_beta(true),
        "planted_true_objects": TRUE_OBJECTS,
        "fitted_false_boxes": fit_beta(false),
        "planted_false_boxes": FALSE_BOXES,
        "measured_share_of_misses_held": round(float((true[is_missed] >= DEFAULT_UNSURE_FROM).mean()), 3),
        "measured_share_of_empty_frames_held": round(
            float(((false >= DEFAULT_UNSURE_FROM) & (false < THRESHOLD)).mean()), 3
        ),
    }


def measure_planted(num_frames: int) -> dict[str, Any]:
    """Return the effect of holding frames back: the worst of several seeds for negatives, and means for frames."""
    falls, costs, silent, waiting = [], [], [], []
    for seed in SEEDS:
        frames = plant_frames(num_frames // len(SEEDS), seed=seed)
        before, after = count_negatives(frames, "as_negative"), count_negatives(frames, "hold")
        falls.append(1 - after.wrong / before.wrong)
        costs.append(1 - after.correct / before.correct)
        silent.append(before.silent / len(frames))
        waiting.append(after.num_waiting / len(frames))
    return {
        "num_frames": num_frames,
        "unsure_from": DEFAULT_UNSURE_FROM,
        "least_fall_of_wrong_negatives": round(min(falls), 3),
        "greatest_fall_of_correct_negatives": round(max(costs), 3),
        "share_of_frames_with_silent_objects_alone": round(float(np.mean(silent)), 4),
        "share_of_frames_waiting": round(float(np.mean(waiting)), 3),
    }


def main() -> None:
    """Measure, and print the figures as a table or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="5,000 frames")
    arguments = parser.parse_args()
    results = measure_curves() | measure_planted(5_000 if arguments.quick else 50_000)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    for name, value in results.items():
        print(f"{name:<46}{value}")


if __name__ == "__main__":
    main()
