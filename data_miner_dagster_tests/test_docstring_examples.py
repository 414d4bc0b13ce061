"""Test that the examples in docstrings of the main entry points run, and print what they claim."""

import doctest
from types import ModuleType

import pytest

from data_miner_dagster.stages.deduplication import leaders
from data_miner_dagster.stages.detection import tiling
from data_miner_dagster.stages.splitting import drawing


@pytest.mark.parametrize("module", [leaders, tiling, drawing], ids=lambda module: module.__name__)
def test_examples__print_what_they_say(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
