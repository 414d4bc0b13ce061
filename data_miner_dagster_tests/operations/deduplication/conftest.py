"""An empty platform, to plant duplicates in."""

from pathlib import Path

import pytest

from data_miner_dagster_tests.support.axis_project import PlantedPlatform


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """An empty platform."""
    return PlantedPlatform(tmp_path)
