"""Random objects, including crowds, and random boxes, some of which overlap the objects."""

import numpy as np

from data_miner_dagster.stages.evaluation.boxes import FoundBoxes, TruthBoxes

RESOLUTION_WH = (640, 480)


def planted_boxes(seed: int, *, num_frames: int, num_classes: int = 3) -> tuple[TruthBoxes, FoundBoxes]:
    """Return up to five objects for each frame, a tenth of them crowds, and boxes near most of them and elsewhere.

    Confidences have two decimals, so that many are equal. An object fills between half and all of its box.
    """
    generator = np.random.default_rng(seed)
    frames = np.repeat(np.arange(num_frames), generator.integers(0, 6, num_frames))
    corners = generator.uniform((0, 0), (500, 380), (len(frames), 2))
    sides = generator.uniform((5, 5), (140, 100), (len(frames), 2))
    classes = generator.integers(0, num_classes, len(frames))
    truth = TruthBoxes(
        frames,
        classes,
        np.concatenate([corners, corners + sides], axis=1),
        generator.random(len(frames)) < 0.1,
        sides.prod(axis=1) * generator.uniform(0.5, 1, len(frames)),
    )
    near = np.repeat(np.arange(len(frames)), generator.integers(0, 3, len(frames)))
    moved = truth.boxes_xyxy[near] + generator.normal(0, 0.07, (len(near), 4)) * np.tile(sides[near], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 2)
    anywhere = generator.uniform((0, 0), (500, 380), (num_frames * 2, 2))
    away = np.concatenate([anywhere, anywhere + generator.uniform(5, 100, (num_frames * 2, 2))], axis=1)
    is_other = generator.random(len(near)) < 0.1
    found_classes = np.where(is_other, generator.integers(0, num_classes, len(near)), classes[near])
    number = len(near) + len(away)
    return truth, FoundBoxes(
        np.concatenate([frames[near], np.repeat(np.arange(num_frames), 2)]),
        np.concatenate([found_classes, generator.integers(0, num_classes, len(away))]),
        np.round(generator.random(number), 2),
        np.concatenate([moved, away]),
    )
