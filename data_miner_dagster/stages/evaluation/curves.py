"""Precision, recall and F1 of one class over its confidences, and the best threshold with its interval."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from data_miner_dagster.domain.quality import CurvePoint, Estimate
from data_miner_dagster.stages.estimates import BoolArray, Float64Array, Int64Array

CURVE_POINTS: Final = 101
_RESAMPLES: Final = 200
_GRID: Final = 200
"""The number of candidate thresholds from which each resample selects the best."""


@dataclass(frozen=True, slots=True)
class MatchedClass:
    """The N counted boxes and the M objects of one class, in frames identified by position."""

    confidences: Float64Array  # (N,)
    is_right: BoolArray  # (N,)
    frames: Int64Array  # (N,)
    object_frames: Int64Array  # (M,)


@dataclass(frozen=True, slots=True)
class ClassCurve:
    """The curve of one class, its point of highest F1, and the interval of that point's threshold."""

    points: tuple[CurvePoint, ...]  # about `CURVE_POINTS` of the thresholds, ascending, including the best
    best: CurvePoint
    best_threshold: Estimate


def class_curve(matched: MatchedClass) -> ClassCurve | None:
    """Return the curve of a class, or None if there are no boxes or no objects."""
    num_objects = len(matched.object_frames)
    if not len(matched.confidences) or not num_objects:
        return None
    order = np.argsort(-matched.confidences, kind="stable")
    confidences = matched.confidences[order]
    num_right = np.cumsum(matched.is_right[order])
    last = np.append(np.flatnonzero(np.diff(confidences)), len(confidences) - 1)  # the last of equal confidences
    thresholds, right, taken = confidences[last], num_right[last], last + 1
    f1 = 2 * right / (taken + num_objects)
    best = int(f1.argmax())  # the highest threshold wins a tie
    shown = np.unique(np.append(np.linspace(0, len(last) - 1, CURVE_POINTS).astype(np.int64), best))[::-1]

    def point(position: int) -> CurvePoint:
        return CurvePoint(
            float(thresholds[position]),
            float(right[position] / taken[position]),
            float(right[position] / num_objects),
            float(f1[position]),
        )

    interval = _best_thresholds(matched, thresholds)
    value = float(thresholds[best])
    low, high = np.quantile(interval, [0.025, 0.975]).tolist()
    return ClassCurve(
        tuple(point(position) for position in shown.tolist()),
        point(best),
        Estimate(value, min(low, value), max(high, value)),
    )


def point_at(matched: MatchedClass, threshold: float) -> CurvePoint | None:
    """Return precision, recall and F1 at a threshold, or None if there is no object or no box reaches the threshold."""
    is_taken = matched.confidences.astype(np.float32) >= np.float32(threshold)
    num_objects, num_taken = len(matched.object_frames), int(is_taken.sum())
    if not num_objects or not num_taken:
        return None
    num_right = int((matched.is_right & is_taken).sum())
    return CurvePoint(
        threshold, num_right / num_taken, num_right / num_objects, 2 * num_right / (num_taken + num_objects)
    )


def _best_thresholds(matched: MatchedClass, thresholds: Float64Array) -> Float64Array:
    """Return the threshold of highest F1 in each of 200 resamples of the frames, the ground truth's sampling unit.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile interval).
    """
    grid = np.unique(thresholds[np.unique(np.linspace(0, len(thresholds) - 1, _GRID).astype(np.int64))])
    bins = np.searchsorted(grid, matched.confidences, side="right") - 1  # -1 below the grid
    is_inside = bins >= 0
    num_frames = 1 + max(int(matched.frames.max()), int(matched.object_frames.max()))
    generator = np.random.default_rng(0)
    best = np.zeros(_RESAMPLES)
    frames = np.unique(np.concatenate([matched.frames, matched.object_frames]))
    for resample in range(_RESAMPLES):
        drawn = generator.choice(frames, len(frames))
        weights = np.bincount(drawn, minlength=num_frames).astype(np.float64)
        of_boxes = weights[matched.frames]
        taken = _at_or_above(bins[is_inside], of_boxes[is_inside], len(grid))
        right = _at_or_above(bins[is_inside], (of_boxes * matched.is_right)[is_inside], len(grid))
        num_objects = weights[matched.object_frames].sum()
        f1 = np.divide(2 * right, taken + num_objects, out=np.zeros_like(right), where=taken + num_objects > 0)
        best[resample] = grid[f1.argmax()]
    return best


def _at_or_above(bins: Int64Array, weights: Float64Array, num_bins: int) -> Float64Array:
    sums: Float64Array = np.cumsum(np.bincount(bins, weights, minlength=num_bins)[::-1])[::-1].astype(np.float64)
    return sums
