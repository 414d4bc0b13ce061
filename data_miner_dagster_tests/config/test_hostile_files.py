"""A tenth of `benchmarks.hostile_yaml`, drawn with another seed: it counts no faults."""

import pytest

from benchmarks.hostile_yaml import measure

pytestmark = pytest.mark.slow(11)


def test_hostile_files__no_fault() -> None:
    figures = measure(20, seed=7)
    assert figures["faults"] == []
    assert figures["files"] == 20
    assert figures["valid"] < 10
