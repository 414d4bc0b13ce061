"""Choose images within a budget: diverse, uncertain, balanced by class, with limits per group. Pure functions.

The choice is greedy, and images whose groups have reached their limits are excluded. With `vectors`, each step
multiplies each image's distance to the nearest chosen image by 1 plus its priority, and takes the image with the
greatest product. If priorities are equal and there are no limits or classes, the maximum Euclidean distance of an image
to the nearest chosen one is at most twice the optimum. Without `vectors`, each step takes the image with the highest
priority. Classes are served first, the rarest first, each up to an equal share of the budget. A class gets its share if
enough of its images are still within the limits when its turn comes.

Source: Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.records import Float32Array

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PROJECTED_DIMENSIONS: Final = 128
"""Vectors with more dimensions are projected at random, which preserves distances to within a few percent and saves
memory."""
_VECTORS_AT_ONCE: Final = 8192
_CHOSEN_AT_ONCE: Final = 1024
_DECIMALS: Final = 4
"""The number of decimal places to which distances are rounded before they are compared. Further digits differ between
machines."""


@dataclass(frozen=True, slots=True)
class Pool:
    """N images to choose from, with B boxes."""

    priorities: Float32Array  # (N,) 0..1: the value of each image on its own
    box_offsets: IntArray  # (N+1,) the boxes of image i are the half-open slice offsets[i]:offsets[i+1]
    box_classes: npt.NDArray[np.int32]  # (B,)
    vectors: Float32Array | None = None  # (N, D) unit vectors, or None if distances are not considered


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """A maximum number of images for each group."""

    group_of: IntArray  # (N,) the number of each image's group, counting from 0
    limit: int


def choose_images(
    pool: Pool, count: int, *, num_classes: int = 0, limits: Sequence[GroupLimit] = ()
) -> npt.NDArray[np.bool_]:
    """Return an (N,) mask of the chosen images, at most `count`.

    Args:
        pool: the images.
        count: the budget.
        num_classes: the number of classes to serve first, each up to its share of the budget. If 0, classes are
            ignored.
        limits: limits for groups. If there are several, the groups of one limit should be nested in those of another,
            such as videos in channels. Otherwise images may be excluded needlessly.
    """
    choosing = _Choosing(pool, limits)
    for class_index in _rarest_first(pool, num_classes):
        share = count // num_classes
        is_of_class = _images_of_class(pool, class_index)
        wanted = share - int(np.count_nonzero(is_of_class & choosing.is_chosen))
        choosing.take(min(wanted, count - choosing.num_chosen), is_of_class)
    choosing.take(count - choosing.num_chosen, np.ones(len(pool.priorities), np.bool_))
    return choosing.is_chosen


def projected(vectors: Float32Array) -> Float32Array:
    """Project unit vectors to at most `PROJECTED_DIMENSIONS` dimensions, approximately preserving distances."""
    num_dimensions = vectors.shape[1]
    if num_dimensions <= PROJECTED_DIMENSIONS:
        return vectors
    random = np.random.default_rng(0).standard_normal((num_dimensions, PROJECTED_DIMENSIONS)).astype(np.float32)
    made: Float32Array = vectors @ random
    made /= np.maximum(np.linalg.norm(made, axis=1, keepdims=True), np.float32(1e-12))
    return made


def covering_radius(vectors: Float32Array, chosen: IntArray) -> float:
    """Return the maximum distance (1 minus the cosine) of any vector to the nearest chosen one.

    The result is infinite if no vector is chosen, and 0 if there are no vectors.
    """
    nearest = np.full(len(vectors), -np.inf, np.float32)
    for start in range(0, len(chosen), _CHOSEN_AT_ONCE):
        some = vectors[chosen[start : start + _CHOSEN_AT_ONCE]]
        for first in range(0, len(vectors), _VECTORS_AT_ONCE):
            rows = slice(first, first + _VECTORS_AT_ONCE)
            np.maximum(nearest[rows], (vectors[rows] @ some.T).max(axis=1), out=nearest[rows])
    return max(0.0, float(1 - nearest.min(initial=1)))


def uncertainties(
    box_offsets: IntArray, box_classes: npt.NDArray[np.int32], box_confidences: Float32Array, thresholds: Float32Array
) -> Float32Array:
    """Return the (N,) uncertainties of the images, from 0 to 1. The least certain box of an image counts.

    A box's uncertainty is 1 up to the threshold of its class, and falls linearly to 0 at a confidence of 1. An image
    without boxes has 0.
    """
    room = np.maximum(np.float32(1) - thresholds[box_classes], np.float32(1e-6))
    closeness = (1 - (box_confidences - thresholds[box_classes]) / room).clip(0, 1)
    found = np.zeros(len(box_offsets) - 1, np.float32)
    owners = np.repeat(np.arange(len(found)), np.diff(box_offsets))
    np.maximum.at(found, owners, closeness)
    return found


def _rarest_first(pool: Pool, num_classes: int) -> list[int]:
    numbers = [np.count_nonzero(_images_of_class(pool, index)) for index in range(num_classes)]
    return sorted(range(num_classes), key=lambda index: (numbers[index], index))


def _images_of_class(pool: Pool, class_index: int) -> BoolArray:
    is_there = np.zeros(len(pool.priorities), np.bool_)
    owners = np.repeat(np.arange(len(is_there)), np.diff(pool.box_offsets))
    is_there[owners[pool.box_classes == class_index]] = True
    return is_there


class _Choosing:
    """A choice that grows by one image at a time."""

    def __init__(self, pool: Pool, limits: Sequence[GroupLimit]) -> None:
        num = len(pool.priorities)
        self._pool = pool
        self._limits = limits
        self._rooms = [np.full(int(one.group_of.max(initial=-1)) + 1, one.limit) for one in limits]
        self._distances = np.full(num, np.float32(2))  # to the nearest chosen image; initially the maximum
        self._is_open = np.ones(num, np.bool_)  # not chosen, and its groups are below their limits
        self.is_chosen = np.zeros(num, np.bool_)

    @property
    def num_chosen(self) -> int:
        return int(np.count_nonzero(self.is_chosen))

    def take(self, number: int, is_wanted: BoolArray) -> None:
        """Choose up to `number` of the wanted images."""
        for _ in range(number):
            candidates = np.flatnonzero(self._is_open & is_wanted)
            if not len(candidates):
                return
            worth = self._pool.priorities[candidates]
            if self._pool.vectors is not None:
                worth = np.round(self._distances[candidates], _DECIMALS) * (1 + worth)
            self._choose(int(candidates[np.argmax(worth)]))  # the first image wins a tie

    def _choose(self, row: int) -> None:
        self.is_chosen[row], self._is_open[row] = True, False
        for one, room in zip(self._limits, self._rooms, strict=True):
            group = one.group_of[row]
            room[group] -= 1
            if not room[group]:
                self._is_open &= one.group_of != group
        if self._pool.vectors is not None:
            np.minimum(self._distances, 1 - self._pool.vectors @ self._pool.vectors[row], out=self._distances)
