"""Curves and the best threshold, compared with values worked out by hand."""

import numpy as np
import pytest

from data_miner_dagster.stages.evaluation.curves import CURVE_POINTS, MatchedClass, class_curve, point_at


def matched(*rows: tuple[float, bool], num_objects: int) -> MatchedClass:
    return MatchedClass(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows], np.bool_),
        np.arange(len(rows)),
        np.arange(num_objects),
    )


def test_class_curve__nothing_to_draw() -> None:
    assert class_curve(matched(num_objects=3)) is None
    assert class_curve(matched((0.9, False), num_objects=0)) is None


def test_class_curve__by_hand() -> None:
    # four objects; by falling confidence: right, right and wrong at the same confidence, right, wrong
    rows = ((0.9, True), (0.7, True), (0.7, False), (0.5, True), (0.2, False))
    found = class_curve(matched(*rows, num_objects=4))
    assert found is not None
    points = np.array([(point.threshold, point.precision, point.recall, point.f1) for point in found.points])
    by_hand = [
        (0.2, 3 / 5, 3 / 4, 6 / 9),
        (0.5, 3 / 4, 3 / 4, 6 / 8),
        (0.7, 2 / 3, 2 / 4, 4 / 7),
        (0.9, 1, 1 / 4, 2 / 5),
    ]
    assert points == pytest.approx(np.array(by_hand))
    assert found.best == found.points[1]
    assert found.best_threshold.value == 0.5
    assert found.best_threshold.low <= 0.5 <= found.best_threshold.high


def test_class_curve__interval_of_the_best_threshold_narrows_with_more_frames() -> None:
    def width(num_frames: int) -> float:
        generator = np.random.default_rng(0)
        confidences = generator.random(num_frames * 3)
        is_right = generator.random(num_frames * 3) < 1 / (1 + np.exp(-10 * (confidences - 0.45)))
        frames = np.repeat(np.arange(num_frames), 3)
        objects = np.concatenate([frames[is_right], np.arange(num_frames)[: num_frames // 5]])
        curve = class_curve(MatchedClass(confidences, is_right, frames, objects))
        assert curve is not None
        assert len(curve.points) <= CURVE_POINTS + 1
        # from about .43 on, boxes are right with a probability above half of F1's maximum, so they raise F1
        assert curve.best_threshold.low < 0.43 < curve.best_threshold.high + 0.1
        return curve.best_threshold.high - curve.best_threshold.low

    assert width(2000) < 0.5 * width(60)


def test_point_at__boxes_at_the_threshold_count() -> None:
    found = point_at(matched((float(np.float32(0.7)), True), (0.6, False), num_objects=2), 0.7)
    assert found is not None
    assert (found.precision, found.recall, found.f1) == pytest.approx((1.0, 0.5, 2 / 3))
    assert point_at(matched((0.6, False), num_objects=2), 0.7) is None
