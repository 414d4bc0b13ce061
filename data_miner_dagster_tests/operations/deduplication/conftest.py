"""An empty platform in which tests plant duplicates."""

from pathlib import Path

import pytest

from data_miner_dagster_tests.support.axis_project import PlantedPlatform


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """Return an empty platform."""
    return PlantedPlatform(tmp_path)
