"""Frames whose objects are known, with the boxes of a detector that misses a fifth of them.

An object is missed if its box does not reach the threshold. Confidences follow two curves that were fitted to the
lite profile's detector on the sample clips (`python -m benchmarks.unsure` fits them again and compares):

- for true objects, a beta distribution with the mean and variance of the best box of a person on 60 frames of
  `carphone_pristine.mp4`, which shows one person on every frame;
- for false boxes, a beta distribution with the mean and variance of the most confident box, of five classes, on each
  of 66 frames of `bigbuckbunny.mp4`, which shows none of these classes.

The confidence of a found object is drawn from the part of the first curve above the threshold, and that of a missed
object from the part below it. An object whose confidence is below the floor of stored confidences has no box at all.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.config.releasing import DEFAULT_UNSURE_FROM, UnsurePolicy
from data_miner_dagster.stages.releasing import FrameOutcome, ReleaseRules, releasable_boxes
from data_miner_dagster.stages.reviewing.judging import FoundBox, judge_boxes
from data_miner_dagster.stages.reviewing.states import ConfidenceRange, FrameClasses

TRUE_OBJECTS: Final = (2.56, 5.12)
"""Parameters of the beta distribution: mean 0.33, standard deviation 0.16."""
FALSE_BOXES: Final = (0.60, 15.9)
"""Parameters of the beta distribution: mean 0.036, standard deviation 0.045."""
THRESHOLD: Final = 0.3
FLOOR: Final = 0.05
SHARE_MISSED: Final = 0.2
SHARE_EMPTY: Final = 0.4
MOST_OBJECTS: Final = 3

_WH: Final = (640, 360)


@dataclass(frozen=True, slots=True)
class PlantedFrame:
    """The boxes found on a frame, and how many of its objects have a box below the threshold or no box at all."""

    found: tuple[FoundBox, ...]
    num_objects: int
    num_missed: int  # with a box below the threshold
    num_silent: int  # without any box


@dataclass(frozen=True, slots=True)
class Negatives:
    """Frames that a release presents as background, counted by whether they really are."""

    wrong: int  # released although an object, whose box is below the threshold, has no label
    silent: int  # released although objects have no label; they have no box, so no threshold would find them
    correct: int  # released without boxes, and without objects
    num_waiting: int


def plant_frames(num_frames: int, *, seed: int) -> list[PlantedFrame]:
    """Return random frames with 0 to `MOST_OBJECTS` objects. Equal seeds yield equal frames."""
    random = np.random.default_rng(seed)
    return [_frame(random) for _ in range(num_frames)]


def count_negatives(frames: list[PlantedFrame], policy: UnsurePolicy) -> Negatives:
    """Count the frames that a policy releases as background, with the default range of unsure boxes."""
    classes = FrameClasses(("object",), (ConfidenceRange(DEFAULT_UNSURE_FROM, THRESHOLD),))
    rules = ReleaseRules(include_frames_without_boxes=True, unsure=policy)
    wrong = silent = correct = num_waiting = 0
    for frame in frames:
        boxes = releasable_boxes(frame.found, judge_boxes(frame.found, [], classes, _WH), rules, _WH)
        if isinstance(boxes, FrameOutcome):
            num_waiting += boxes is FrameOutcome.HELD
            continue
        wrong += frame.num_missed > 0
        silent += frame.num_missed == 0 and frame.num_silent > 0
        correct += frame.num_objects == 0 and not boxes
    return Negatives(wrong, silent, correct, num_waiting)


def _frame(random: np.random.Generator) -> PlantedFrame:
    num_objects = 0 if random.random() < SHARE_EMPTY else int(random.integers(1, MOST_OBJECTS + 1))
    found, num_missed, num_silent = [], 0, 0
    for _ in range(num_objects):
        is_missed = random.random() < SHARE_MISSED
        confidence = _confidence(random, is_missed=is_missed)
        num_silent += confidence < FLOOR
        num_missed += is_missed and confidence >= FLOOR
        found.append(_box(random, confidence))
    found.append(_box(random, float(random.beta(*FALSE_BOXES))))
    stored = tuple(box for box in found if box.confidence >= FLOOR)
    return PlantedFrame(stored, num_objects, num_missed, num_silent)


def _confidence(random: np.random.Generator, *, is_missed: bool) -> float:
    while True:
        confidence = float(random.beta(*TRUE_OBJECTS))
        if (confidence < THRESHOLD) is is_missed:
            return confidence


def _box(random: np.random.Generator, confidence: float) -> FoundBox:
    x, y = (float(value) for value in random.uniform((0, 0), (_WH[0] - 40, _WH[1] - 40)))
    return FoundBox(0, confidence, (x, y, x + 40, y + 40))
