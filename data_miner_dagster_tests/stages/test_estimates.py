"""Test shares estimated from samples against values worked out by hand."""

import numpy as np
import pytest

from data_miner_dagster.stages.estimates import clustered_share, design_effect, draw_numbers, estimate_of, stratum_of


def test_stratum_of__half_open() -> None:
    assert stratum_of(np.array([-5.0, 0.0, 0.4, 0.5, 9.0]), np.array([-np.inf, 0.0, 0.5, np.inf])).tolist() == [
        0,
        1,
        1,
        2,
        2,
    ]


def test_draw_numbers__answered_items_are_certain_and_dependent_answers_spread_wider() -> None:
    sizes, yes, no = np.array([10, 1000]), np.array([7, 70]), np.array([3, 30])
    drawn = draw_numbers(sizes, yes, no)
    assert set(drawn[:, 0].tolist()) == {7.0}
    assert drawn[:, 1].mean() == pytest.approx(700, abs=5)
    assert (drawn == draw_numbers(sizes, yes, no)).all()
    wide = draw_numbers(sizes, yes, no, design_effect=4.0)
    assert wide[:, 1].std() > 1.7 * drawn[:, 1].std()


def test_estimate_of__median_and_central_95_percent() -> None:
    found = estimate_of(np.arange(201.0))
    assert (found.value, found.low, found.high) == pytest.approx((100.0, 5.0, 195.0))


def test_design_effect__by_hand() -> None:
    assert design_effect(np.zeros(0), np.zeros(0, np.int64)) == 1.0
    residuals = np.array([0.5, 0.5, -0.5, -0.5])
    assert design_effect(residuals, np.array([0, 0, 1, 1])) == 2.0  # two equal answers count as one
    assert design_effect(residuals, np.array([0, 1, 0, 1])) == 1.0  # the effect is never below one


def test_clustered_share__no_items() -> None:
    assert clustered_share(np.zeros(0, np.bool_), np.zeros(0, np.int64)) is None
