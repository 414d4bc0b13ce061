"""Drift is reported for a different population, but not for the same one."""

import numpy as np
import pytest

from data_miner_dagster.stages.filtering.drift import ScoreDistribution, counts_within, distribution_of, drift


def test_drift__nothing_to_compare() -> None:
    reference = distribution_of(np.zeros(0))
    assert drift(reference, np.zeros(100, np.int64)) is None


def test_drift__by_hand() -> None:
    reference = ScoreDistribution(edges=(0.5,), counts=(50, 50))
    found = drift(reference, counts_within(reference.edges, np.array([0.25] * 90 + [0.5] * 10)))
    assert found is not None
    assert found.ks == pytest.approx(0.4)
    assert found.num_frames == 100


def test_drift__same_population_is_quiet_and_a_shift_is_not() -> None:
    generator = np.random.default_rng(0)
    reference = distribution_of(generator.normal(0.3, 0.1, 5000))
    same = drift(reference, counts_within(reference.edges, generator.normal(0.3, 0.1, 3000)))
    shifted = drift(reference, counts_within(reference.edges, generator.normal(0.4, 0.1, 3000)))
    few = drift(reference, counts_within(reference.edges, generator.normal(0.4, 0.1, 30)))
    assert same is not None
    assert shifted is not None
    assert few is not None
    assert same.psi < 0.05
    assert not same.is_drifted
    assert shifted.psi > 0.5
    assert shifted.ks == pytest.approx(0.383, abs=0.03)  # two normal distributions, one sigma apart
    assert shifted.is_drifted
    assert not few.is_drifted
