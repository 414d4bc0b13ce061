"""Measure how closely splits meet their shares, class by class, and how many videos move when a project grows.

    python -m benchmarks.splits [--seeds 50] [--videos 200] [--newcomers 50] [--classes 10]

Each seed plants videos with long-tailed classes: the k-th class is in about 1/k of the videos, and how many images and
boxes a video brings is log-normal. A fifth of the videos are in groups of two to four. The figures are the errors of
the shares of boxes and of images, in points, over all classes and splits; the classes of at least ten groups that some
split lacks; and the old videos that moved after new ones arrived.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from data_miner_dagster.stages.splitting.drawing import GROUPS_FOR_EVERY_SPLIT, VideoContent, draw_splits
from data_miner_dagster.stages.splitting.groups import group_videos

SHARES: Final = {"train": 0.8, "test": 0.1, "val": 0.1}


@dataclass(frozen=True, slots=True)
class Planted:
    """A project: its groups of videos, and the content of each video."""

    groups: Sequence[tuple[str, ...]]
    contents: Mapping[str, VideoContent]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The result of one draw."""

    box_errors: Sequence[float]  # in points, for each class and split
    image_errors: Sequence[float]
    num_lacking: int  # empty (class, split) pairs among classes with enough groups
    num_moved: int


def planted_videos(seed: int, num_videos: int, num_classes: int, prefix: str = "youtube") -> Planted:
    """Return a project with long-tailed classes and uneven videos."""
    generator = np.random.default_rng(seed)
    contents, links = {}, []
    keys = [f"{prefix}-{seed}-{index}" for index in range(num_videos)]
    for position, key in enumerate(keys):
        num_images = int(np.clip(generator.lognormal(3, 0.8), 1, 500))
        images, boxes = {}, {}
        for name in range(num_classes):
            if generator.random() < 1 / (name + 1):
                images[name] = int(generator.integers(1, num_images + 1))
                boxes[name] = images[name] + int(generator.poisson(images[name]))
        contents[key] = VideoContent(num_images, images, boxes)
        if position and generator.random() < 0.1:
            links.append((key, keys[position - 1]))
    return Planted(group_videos(keys, links), contents)


def draw(seed: int, num_videos: int, num_newcomers: int, num_classes: int) -> Drawn:
    """Draw the splits of one project before and after it grows, and return the result."""
    old = planted_videos(seed, num_videos, num_classes)
    before = draw_splits(old.groups, SHARES, old.contents)
    new = planted_videos(seed, num_newcomers, num_classes, prefix="later")
    after = draw_splits([*old.groups, *new.groups], SHARES, {**old.contents, **new.contents}, before)
    return Drawn(
        list(errors_of(old, before, "boxes_by_class", num_classes)),
        list(errors_of(old, before, "images_by_class", num_classes)),
        count_lacking(old, before, num_classes) + count_lacking(old, after, num_classes),
        sum(after[key] != split for key, split in before.items()),
    )


def errors_of(planted: Planted, splits: Mapping[str, str], column: str, num_classes: int) -> Iterator[float]:
    """Yield the error of each split's share of each class, in points."""
    for name in range(num_classes):
        counts = dict.fromkeys(SHARES, 0)
        for key, content in planted.contents.items():
            counts[splits[key]] += getattr(content, column).get(name, 0)
        if total := sum(counts.values()):
            yield from (100 * abs(counts[split] / total - share) for split, share in SHARES.items())


def count_lacking(planted: Planted, splits: Mapping[str, str], num_classes: int) -> int:
    """Return the number of empty (class, split) pairs among the classes with enough groups."""
    lacking = 0
    for name in range(num_classes):
        having = [
            {splits[key] for key in group}
            for group in planted.groups
            if any(name in planted.contents[key].images_by_class for key in group)
        ]
        if len(having) >= GROUPS_FOR_EVERY_SPLIT:
            lacking += len(SHARES.keys() - set().union(*having))
    return lacking


def main() -> None:
    """Draw the splits with every seed, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("seeds", 50), ("videos", 200), ("newcomers", 50), ("classes", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    drawn = [draw(seed, given.videos, given.newcomers, given.classes) for seed in range(given.seeds)]
    for what, errors in (
        ("boxes", [error for one in drawn for error in one.box_errors]),
        ("images", [error for one in drawn for error in one.image_errors]),
    ):
        print(f"error of the share of {what}: median {median(errors):.2f} points, largest {max(errors):.2f}")
    print(
        f"splits without a class of at least {GROUPS_FOR_EVERY_SPLIT} groups: {sum(one.num_lacking for one in drawn)}"
    )
    print(f"old videos that moved: {sum(one.num_moved for one in drawn)}")


if __name__ == "__main__":
    main()
