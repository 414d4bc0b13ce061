"""The share of missed objects, worked out by hand and simulated."""

import numpy as np

from data_miner_dagster.domain.quality import JudgedObject
from data_miner_dagster.stages.evaluation.missing import missed_share


def test_missed_share__no_objects() -> None:
    assert missed_share([], {"cat": 0.3}) is None
    assert missed_share([JudgedObject("dog", None, 0)], {"cat": 0.3}) is None


def test_missed_share__by_hand() -> None:
    objects = [
        JudgedObject("cat", 0.9, 0),
        JudgedObject("cat", float(np.float32(0.3)), 0),  # at the threshold
        JudgedObject("cat", 0.29, 1),
        JudgedObject("dog", None, 1),
        JudgedObject("dog", 0.6, 2),
        JudgedObject("bird", None, 2),  # not a class of the project
    ]
    found = missed_share(objects, {"cat": 0.3, "dog": 0.6})
    assert found is not None
    assert (found.num_objects, found.num_missed, found.share.value) == (5, 2, 0.4)
    assert 0 < found.share.low < 0.4 < found.share.high < 1


def test_missed_share__none_missed_is_no_certainty() -> None:
    found = missed_share([JudgedObject("cat", 0.9, frame) for frame in range(100)], {"cat": 0.3})
    assert found is not None
    assert (found.share.value, found.share.low) == (0.0, 0.0)
    assert 0.01 < found.share.high < 0.04


def test_missed_share__interval_holds_the_truth_where_frames_miss_together() -> None:
    """Sample 200 of 5,000 frames. A frame has Poisson(3) objects, and misses each with a Beta(.6, 2.4) probability."""
    hits = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        numbers = generator.poisson(3, 5000)
        chances = generator.beta(0.6, 2.4, 5000)
        missed = generator.binomial(numbers, chances)
        sampled = generator.permutation(5000)[:200].tolist()
        objects = [
            JudgedObject("cat", None if number < missed[frame] else 0.9, frame)
            for frame in sampled
            for number in range(numbers[frame])
        ]
        found = missed_share(objects, {"cat": 0.3})
        assert found is not None
        hits += found.share.low <= missed.sum() / numbers.sum() <= found.share.high
        assert found.share.high - found.share.low < 0.14
    assert hits >= 53
