"""Test which epoch of a training run counts as the best. Training itself is tested in operations/training."""

import pytest

from data_miner_dagster.domain.students import Epoch
from data_miner_dagster.models.training import best_epoch_of


@pytest.mark.parametrize(
    ("precisions", "best"), [([0.9, 0.2, 0.5, 0.5, 0.4], 3), ([0.0, 0.0, 0.0], 2), ([0.1, 0.3, 0.2], 1)]
)
def test_best_epoch_of__the_last_of_equally_good_epochs(precisions: list[float], best: int) -> None:
    """The first value belongs to the untrained network, whose weights are never kept."""
    curve = [Epoch(number, None, 0.0, precision) for number, precision in enumerate(precisions)]
    assert best_epoch_of(curve) == best
